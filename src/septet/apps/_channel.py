"""`receive` and `send` of an ASGI application, for one request.

A channel never touches a socket: it calls its exchange, and its `Carrier`, a part of the process model, moves the bytes
as far as the socket allows. When something changes (more of the body, room for output, the client gone) the carrier
calls `wake()`.

The parts that an application sends without waiting for anything in between are buffered, and sent together when it
waits: a stream whose parts are ready costs one send(2), and no part waits for one that is not ready. Before the
application's first wait the channel is *corked*: it does not call the carrier. At that wait, the code that started the
application has all bytes sent at once.
"""

import asyncio
import logging
from typing import Any, Protocol, cast

from septet.apps._call import PART_BYTES, SURPLUS_BYTES
from septet.apps._messages import Message, Trailers, fields_of, head_of, hints_of, path_region, region_of
from septet.errors import is_raised_at
from septet.exchange import BROKEN, REFUSALS, ClientGone, Exchange, FileRegion, ResponseHead, octets
from septet.http.head import check_trailers, with_length

log = logging.getLogger("septet")

BUFFER_BYTES = 65536
"""Most bytes of an answer that are buffered; when there are as many, `send` waits until they are sent. The server
receives as many bytes of a request at a time, so both directions of a busy connection need the same memory.
"""

HALF_CLOSED_S = 5.0
"""Seconds after which the application receives `http.disconnect` for a client that has half-closed its connection: it
may still wait for its answer, or have left, which only sending something shows. Other servers say so at once.
"""


class Carrier(Protocol):
    """Moves the bytes between a channel's exchange and the client's socket. The process model implements it: a
    connection on a loop, or in another thread.
    """

    def drive(self, want: Any) -> None:
        """Do what the exchange wants next (`want`, such as READ or WRITE) as far as the socket allows now. The carrier
        goes on by itself when the socket allows more.
        """


class Channel:
    """`receive` and `send` of one request. All methods may be called only in the thread of the application's loop.
    `task`: the application's, once it waits; None once `send` has raised ClientGone.
    """

    task: "asyncio.Task[None] | None"

    __slots__ = (
        "_all_read",
        "_broken",
        "_buffered",
        "_buffered_bytes",
        "_carrier",
        "_corked",
        "_exchange",
        "_extensions",
        "_half_closed_at",
        "_head",
        "_piece",
        "_promised",
        "_request",
        "_surplus",
        "_trailers",
        "_waiters",
        "answered",
        "disconnect_received",
        "task",
    )

    def __init__(self, exchange: Exchange, carrier: Carrier) -> None:
        self._exchange = exchange
        self._request = exchange.request
        """What this channel answers. The exchange may hold the next request when the application raises later."""
        self._carrier = carrier
        self._extensions: frozenset[str] = frozenset()
        """Names of the ASGI extensions that the application is offered, and may therefore use."""
        self._head: ResponseHead | None = None
        self._buffered: list[bytes] | None = None
        self._buffered_bytes = 0
        self._trailers: Trailers | None = None
        self._surplus: int | None = None
        """Bytes of content that were dropped because the client already had its whole answer: the request allows no
        content, or the Content-Length was reached. None before that, and after the application's last part.
        """
        self._promised: int | None = None
        """The answer's Content-Length, for the log message about content beyond it. None before the Content-Length is
        reached, and once the message was logged.
        """
        self._all_read = False
        self._piece: bytes | None = None
        """A piece of the request's body, until `receive` has returned it."""
        self._half_closed_at: float | None = None
        """When `receive` first found that the client sends no more, in seconds on the loop's clock; None before."""
        self._broken = False
        """True if there was no memory or no frame left in `send`, for example because the application calls it deep in
        a recursion, or if a signal handler has raised there (`_leaves_whole`): some of the answer may be lost or sent
        twice, so the connection is to be cut.
        """
        self._waiters: list[asyncio.Future[None]] | None = None
        self._corked = True
        """True until the application waits for the first time. While it is True the channel does not call the carrier;
        the code that started the application then calls `uncork`.
        """
        self.answered = False
        """True once the answer is complete. The channel then no longer uses the exchange, which may hold the
        connection's next request already.
        """
        self.disconnect_received = False
        """True if the application received `http.disconnect` before its answer was complete. If it then raises, or ends
        without a whole answer, this is not logged as an error.
        """

    def uncork(self) -> None:
        """Give the exchange what is buffered; the caller then has the exchange's output sent. Called when the
        application waits for the first time, or has ended. From then on the channel has output sent itself, by
        `Carrier.drive`.
        """
        self._corked = False
        if self._buffered and not self.answered:
            self._push_buffered()

    def fail(self) -> None:
        """End the answer after a failure of the application: with an error status, usually 500, if no answer has begun.
        Else what the application has given so far is sent, and the answer is broken off: the connection is closed (in
        HTTP/2 the stream is reset).
        """
        try:
            if self._buffered and not (self._broken or self._exchange.lost):
                self._carrier.drive(self._push_buffered())
                if self.answered:
                    return
            self.answered = True
            self._surplus = SURPLUS_BYTES  # a task of the application may still send: ClientGone, not "complete"
            if self._broken and not self._exchange.lost:
                log.error(BROKEN)
            want = self._exchange.lose() if self._broken else self._exchange.fail()
            if not self._corked:
                self._carrier.drive(want)
        except BaseException:  # not the application's: the client would wait for an end that does not come
            self._cut_after_failure()
            return
        self.wake()

    def task_ended(self) -> None:
        """Called when the task of the request has ended, in a callback of the loop. If it has never begun to run the
        application, there is no answer, nor an end of one: that is so if the application has cancelled it before its
        first step, or makes tasks itself (a task factory) and has not run what it was given. Answers 500.
        """
        if not self.answered:
            if not self._exchange.lost:
                target = self._request.target.decode("ascii")
                log.error("the task for %s %s has ended before it began to run", self._request.method, target)
            self.fail()

    def _cut_after_failure(self) -> None:
        """Log the exception that is being handled, which is a fault of the server, and cut the connection."""
        self.answered = True
        want = self._exchange.lose()
        if not self._corked:
            self._carrier.drive(want)
        log.exception("a connection failed, and is cut")
        self.wake()

    # Waiting for changes

    def wake(self) -> None:
        """Resume all coroutines that wait in `receive` or `send` for a change; each checks its own condition again."""
        for waiter in self._waiters or ():
            if not waiter.done():
                try:
                    waiter.set_result(None)
                except BaseException as error:  # a signal handler has raised, and the Future has forgotten whom to wake
                    cast(Any, waiter.get_loop()).resume_interrupted(error)
                    raise
        self._waiters = None  # only now: after a MemoryError above, the next call wakes those that were left

    async def _wait_for_change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:  # frameworks poll by cancelling `receive` again and again
            if self._waiters is not None and waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    async def _until_sent(self) -> None:
        """Wait until all output has been sent. Raises ClientGone if the client cannot be reached."""
        while not self.answered and self._exchange.blocked:
            await self._wait_for_change()
        if not self.answered and self._exchange.lost:
            raise ClientGone("the client is gone")

    # What the application receives

    async def receive(self) -> Message:
        """Return the next message for the application: a piece of the request's body (`http.request`), or
        `http.disconnect` after the answer, or when the client is gone. Waits until there is one.
        """
        exchange = self._exchange
        while not (self.answered or self._all_read or exchange.lost):
            try:
                if self._piece is None:
                    self._piece = exchange.poll()
            except ClientGone:
                break
            if (part := self._piece) is not None:
                self._all_read = exchange.body_complete
                self._piece = None  # last, because an exception may come at the call before
                return {"type": "http.request", "body": part, "more_body": not self._all_read}
            want = exchange.want_body()
            if not self._corked:
                self._carrier.drive(want)
            if exchange.waits:
                await self._wait_for_change()
        while not (self.answered or exchange.gone):
            await self._wait_for_change()
        while not self.answered and exchange.half_closed and await self._wait_half_closed():
            pass
        self.disconnect_received = not self.answered
        return {"type": "http.disconnect"}

    async def _wait_half_closed(self) -> bool:
        """Wait for a change while a client that has half-closed its connection counts as waiting for its answer:
        HALF_CLOSED_S in all, from the first call of this method. Returns False when that time is over.
        """
        loop = asyncio.get_running_loop()
        if self._half_closed_at is None:
            self._half_closed_at = loop.time()
        left_s = self._half_closed_at + HALF_CLOSED_S - loop.time()
        if left_s > 0:
            timer = loop.call_later(left_s, self.wake)
            try:
                await self._wait_for_change()
            finally:
                timer.cancel()
        return left_s > 0

    # What the application sends

    async def send(self, message: Message) -> None:
        """Begin the answer, or send a part of it. Raises ClientGone if the client cannot be reached.

        A part is buffered at first, and `send` returns at once. If BUFFER_BYTES are buffered, or earlier output still
        waits for the client, `send` returns when all of it has been written to the socket.
        """
        kind = message["type"]
        try:
            if kind == "http.response.body":
                wanted = self._check_turn(kind)
                content = message.get("body", b"")
                if type(content) is not bytes:
                    content = octets(content)
                if not wanted:
                    await self._discard(len(content), not message.get("more_body", False))
                    return
                if not message.get("more_body", False):
                    self._finish(content)
                    return
                self._buffer(content)
                if self._buffered_bytes >= BUFFER_BYTES or (not self._corked and self._exchange.blocked):
                    await self._send_buffered()
            elif kind == "http.response.start":
                if self._head is not None:
                    raise RuntimeError("http.response.start was sent twice")
                self._head = head_of(message)
                if message.get("trailers", False):
                    self._trailers = Trailers(self._request)
            else:
                await self._send_other(kind, message)
        except BaseException as error:
            self._broken = True  # first and without a call, for which there may be no frame or no memory
            if _leaves_whole(error):
                self._broken = False
            if type(error) is ClientGone:
                self.task = None
            raise

    def _check_turn(self, kind: str) -> bool:
        """Return True if content may follow now, and False if it must be discarded because the client has its whole
        answer. `kind`: the type of the message that brings the content, for errors.

        Raises RuntimeError if the application must not send content now, ClientGone if the client is gone.
        """
        if self._head is None:
            raise RuntimeError(f"{kind} was sent before http.response.start")
        if self._surplus is not None:
            return False
        if self.answered or (self._trailers is not None and self._trailers.due):
            raise RuntimeError(f"{kind} was sent after the answer was complete")
        if self._broken or self._exchange.lost:
            raise ClientGone("the client is gone, or an earlier part of the answer could not be sent")
        return True

    async def _discard(self, count: int, last: bool) -> None:
        """Drop `count` bytes of content that follow a complete answer; `last`: the application sends no more. Raises
        ClientGone when more than SURPLUS_BYTES were dropped.
        """
        assert self._surplus is not None, "the answer has ended"
        if count and self._promised is not None:
            self._exchange.complain_of_excess(self._request, self._promised + count, self._promised)
            self._promised = None
        self._surplus += count + PART_BYTES
        if self._surplus > SURPLUS_BYTES:
            raise ClientGone("nothing more of this answer is wanted")
        if last and self._trailers is None:
            self._surplus = None
        await asyncio.sleep(0)

    def _buffer(self, content: bytes) -> None:
        if self._buffered is not None:
            self._buffered.append(content)
        else:
            self._buffered = [content]
            if not self._corked:
                asyncio.get_running_loop().call_soon(self._flush)
        self._buffered_bytes += len(content) or PART_BYTES  # endless empty parts must yield to other tasks, too

    def _flush(self) -> None:
        """Send what is buffered, because the application waits. If earlier output still waits to be sent, the buffered
        parts are queued behind it.
        """
        if self._buffered and not (self.answered or self._exchange.lost):
            try:
                self._carrier.drive(self._push_buffered())
            except BaseException:  # the loop has called this: no application learns that a part was not sent
                self._cut_after_failure()

    async def _send_buffered(self) -> None:
        await self._until_sent()
        if self._buffered and not self.answered:  # else another task of the application has sent it
            self._carrier.drive(self._push_buffered())
        if not self._exchange.blocked:
            await asyncio.sleep(0)  # let other tasks run, although this client takes everything at once
        await self._until_sent()

    def _push_buffered(self) -> Any:
        content = b"".join(self._buffered or ())
        self._buffered = None
        self._buffered_bytes = 0
        try:
            return self._push(content)
        except BaseException:  # perhaps it is in the answer, and perhaps it is lost
            self._broken = True
            raise

    def _push(self, content: bytes | FileRegion) -> Any:
        """Give the exchange a part of the answer that is not the last; returns what the exchange wants next."""
        exchange = self._exchange
        if exchange.responding:
            want = exchange.push(content, False)
        else:
            assert self._head is not None, "content has its turn after the head"
            want = exchange.respond(self._head, content, False)
        # HEAD, 204, 304, or the Content-Length is reached: the client has its whole answer. (A file is different: the
        # application waits until it has been sent.)
        kept = exchange.content_complete and self._trailers is None and type(content) is bytes
        if kept or exchange.content_ended:
            want = exchange.push(b"", True)
            self._surplus = 0
            self._promised = self._head.content_length if kept and self._head is not None else None
            self.answered = True
            self.wake()
        return want

    def _finish(self, content: bytes) -> None:
        """Give the exchange the last part of the content. If trailers were announced, the answer ends when they have
        come.
        """
        exchange = self._exchange
        if self._trailers is not None:
            self._buffer(content)
            self._trailers.due = True
            return
        if self._buffered:
            self._buffered.append(content)
            want = self._push_buffered()
            if self.answered:
                self._surplus = None
            else:
                want = exchange.push(b"", True)
        elif exchange.responding:
            want = exchange.push(content, True)
        else:
            assert self._head is not None, "content has its turn after the head"
            want = exchange.respond(self._head, content, True)
        self._end(want)

    def _end(self, want: Any) -> None:
        """Called when the application has given its whole answer: have it sent (`Carrier.drive(want)`), and wake
        everything that waits.
        """
        self.answered = True
        if not self._corked:
            try:
                self._carrier.drive(want)
            except BaseException:  # of a signal handler, before its first line: nothing else would have the answer sent
                self._carrier.drive(want)
                raise
        if self._waiters:
            self.wake()

    # Extensions

    async def _send_other(self, kind: str, message: Message) -> None:
        """Handle a message of an extension. Raises RuntimeError if the extension is not offered: its message is then of
        an unknown type (ASGI, "Error Handling"). Early hints and trailers for a client of HTTP/1.0, which cannot
        receive them, are dropped without an error.
        """
        if kind not in self._extensions:
            raise RuntimeError(f"{kind!r} is no message of HTTP, nor of an extension that is offered")
        if kind == "http.response.zerocopysend":
            wanted, last = self._check_turn(kind), not message.get("more_body", False)
            region = region_of(message)
            await (self._send_region(region, last) if wanted else self._discard(region.count, last))
        elif kind == "http.response.pathsend":
            wanted, region = self._check_turn(kind), path_region(message)
            await (self._send_region(region, True) if wanted else self._discard(0, True))
        elif kind == "http.response.early_hint":
            if not (self.answered or self._exchange.responding or self._exchange.lost or self._buffered):
                self._carrier.drive(self._exchange.inform(103, hints_of(message)))
        elif kind == "http.response.trailers":
            self._add_trailers(message)
        else:
            raise AssertionError(f"{kind} is offered, and not implemented")

    async def _send_region(self, region: FileRegion, last: bool) -> None:
        """Send a part of a file; `last`: no other part of the answer follows. Returns when it was written to the
        socket; cancelling does not stop the sending.
        """
        if last and not self._buffered and self._head is not None and self._head.content_length is None:
            self._head = with_length(self._head, region.count)
        if self._buffered:
            await self._send_buffered()
        await self._until_sent()
        if self.answered:  # another task of the application has ended the answer meanwhile
            return
        self._carrier.drive(self._push(region))
        await self._until_sent()
        if not last:
            return
        if not self.answered:
            self._finish(b"")
        elif self._trailers is None:
            self._surplus = None

    def _add_trailers(self, message: Message) -> None:
        trailers = self._trailers
        if self._surplus is not None:
            return
        if trailers is None or not trailers.due or self.answered:
            raise RuntimeError("http.response.trailers was not announced, or it is not their turn")
        trailers.fields += fields_of(message)
        if message.get("more_trailers", False):
            return
        check_trailers(trailers.fields)
        want = self._push_buffered() if self._buffered else None
        self._end(want if self.answered else self._exchange.finish(trailers.fields if trailers.wanted else ()))


def _leaves_whole(error: BaseException) -> bool:
    """True if `error`, which comes out of `send`, has left the answer as it was: it has not come while a part of it was
    given to the exchange, or the exchange has refused that part. `models._drive.leaves_whole` does the same for WSGI.
    """
    if isinstance(error, (MemoryError, RecursionError)):
        return False
    trace, is_own, gives = error.__traceback__, False, False
    while trace is not None:
        code = trace.tb_frame.f_code
        if code is Channel._end.__code__:  # the exchange has all of it
            return True
        module = trace.tb_frame.f_globals.get("__name__", "")
        is_own = module.startswith("septet.") and is_raised_at(trace)
        gives = gives or code in _GIVING or module.startswith("septet.session.")
        trace = trace.tb_next
    return not gives or (is_own and type(error) in REFUSALS)


_GIVING = tuple(
    each.__code__ for each in (Channel._push_buffered, Channel._push, Channel._finish, Channel._add_trailers)
)
