"""The two ways between an ASGI application and its client, for one request: `receive` and `send`.

A channel never touches a socket: what it has to say goes to its exchange, and its `Link` carries that as far as the
socket allows; when something changes (more of the body, room for output, the client gone) the link calls `wake()`.

What an application sends while it waits for nothing is gathered, and goes when it does: a stream whose parts are there
costs one send(2), and a part never waits for one that is still to be made.
"""

import asyncio
import os
from typing import Any, Protocol

from septet.apps._messages import Message, Trailers, fields_of, head_of, hints_of, open_path, region_of, whole_file
from septet.http.events import ClientGone, Exchange, FileRegion, ResponseHead, octets
from septet.http.head import trailer_section, with_length

GATHERED_BYTES = 65536
"""More than this is not kept back. It is what one receive brings, too: neither direction of a busy connection holds
more memory than the other."""


class Link(Protocol):
    """What carries a channel's words to its client."""

    def carry(self, want: Any) -> None:
        """Move bytes as far as the socket allows, and see to it that the rest goes on when it can."""


class Channel:
    """Of one request. For the thread of the loop on which its application runs."""

    __slots__ = (
        "_all_read",
        "_exchange",
        "_extensions",
        "_gathered",
        "_gathered_bytes",
        "_head",
        "_held",
        "_link",
        "_request",
        "_trailers",
        "_waiters",
        "answered",
        "told_gone",
    )

    def __init__(self, exchange: Exchange, link: Link) -> None:
        self._exchange = exchange
        self._request = exchange.request
        """For the log: when an application raises after its answer, the exchange is another's."""
        self._link = link
        self._extensions: frozenset[str] = frozenset()
        """What the application is offered, and may send."""
        self._head: ResponseHead | None = None
        self._gathered: list[bytes] | None = None
        self._gathered_bytes = 0
        self._trailers: Trailers | None = None
        self._all_read = False
        self._waiters: list[asyncio.Future[None]] | None = None
        self._held = True
        """Whoever started the application carries what it sends, when it has come to its first wait: `let_go`."""
        self.answered = False
        """From then on the exchange is the next request's, and none of ours."""
        self.told_gone = False
        """The application was told, before it had answered, that its client is gone."""

    def let_go(self) -> None:
        """The application has come to its first wait: send what it has gathered. From now on it is carried at once."""
        self._held = False
        if self._gathered and not (self.answered or self._exchange.blocked):
            self._push_gathered()

    def give_up(self) -> None:
        """What has been sent stands, so the client sees a part of an answer; if nothing has, 500."""
        if self._gathered and not self._exchange.lost:
            self._link.carry(self._push_gathered())
        self.answered = True
        want = self._exchange.fail()
        if not self._held:
            self._link.carry(want)
        self.wake()

    # What changes, and who waits for it

    def wake(self) -> None:
        """Something has changed: whoever waits looks again."""
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _change(self) -> "asyncio.Future[None]":
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        return waiter

    async def _until_gone(self) -> None:
        """Until all that was pushed has gone to the client. Raises ClientGone."""
        while not self.answered and self._exchange.blocked:
            await self._change()
        if not self.answered and self._exchange.lost:
            raise ClientGone("the client is gone")

    # What the application receives

    async def receive(self) -> Message:
        """The next piece of the body; after the last, and when the client is gone, `http.disconnect`."""
        exchange = self._exchange
        while not (self.answered or self._all_read or exchange.lost):
            try:
                part = exchange.poll()
            except ClientGone:
                break
            if part is not None:
                self._all_read = exchange.body_complete
                return {"type": "http.request", "body": part, "more_body": not self._all_read}
            want = exchange.want_body()
            if not self._held:
                self._link.carry(want)
            if exchange.waits:
                await self._change()
        while not (self.answered or exchange.gone):
            await self._change()
        self.told_gone = not self.answered
        return {"type": "http.disconnect"}

    # What it sends

    async def send(self, message: Message) -> None:
        """Begin the answer, or send a part of it. Raises ClientGone when nobody listens.

        Returns when the client has taken what was sent before, as far as the kernel's buffer goes.
        """
        kind = message["type"]
        if kind == "http.response.body":
            self._check_turn(kind)
            content = message.get("body", b"")
            if type(content) is not bytes:
                content = octets(content)
            if not message.get("more_body", False):
                self._finish(content)
                return
            self._gather(content)
            if self._gathered_bytes >= GATHERED_BYTES or (not self._held and self._exchange.blocked):
                await self._send_gathered()
        elif kind == "http.response.start":
            if self._head is not None:
                raise RuntimeError("http.response.start was sent twice")
            self._head = head_of(message)
            if message.get("trailers", False):
                self._trailers = Trailers(self._request)
        else:
            await self._send_other(kind, message)

    def _check_turn(self, kind: str) -> None:
        """Whether it is time for content."""
        if self._head is None:
            raise RuntimeError(f"{kind} was sent before http.response.start")
        if self.answered or (self._trailers is not None and self._trailers.due):
            raise RuntimeError(f"{kind} was sent after the answer was complete")
        if self._exchange.lost:
            raise ClientGone("the client is gone")

    def _gather(self, content: bytes) -> None:
        if self._gathered is not None:
            self._gathered.append(content)
        else:
            self._gathered = [content]
            if not self._held:
                asyncio.get_running_loop().call_soon(self._flush)
        self._gathered_bytes += len(content)

    def _flush(self) -> None:
        """The application waits for something."""
        if self._gathered and not (self.answered or self._exchange.blocked or self._exchange.lost):
            self._link.carry(self._push_gathered())

    async def _send_gathered(self) -> None:
        await self._until_gone()
        if self._gathered:  # else another of the application's tasks has done so
            self._link.carry(self._push_gathered())
        if not self._exchange.blocked:
            await asyncio.sleep(0)  # a client that takes everything at once must not keep the others waiting
        await self._until_gone()

    def _push_gathered(self) -> Any:
        content = b"".join(self._gathered or ())
        self._gathered = None
        self._gathered_bytes = 0
        return self._push(content)

    def _push(self, content: bytes | FileRegion) -> Any:
        """A part that others will follow."""
        exchange = self._exchange
        if exchange.responding:
            return exchange.push(content, False)
        assert self._head is not None, "content has its turn after the head"
        return exchange.respond(self._head, content, False)

    def _finish(self, content: bytes) -> None:
        """The last part."""
        exchange = self._exchange
        if self._trailers is not None:
            self._gather(content)
            self._trailers.due = True
            return
        if self._gathered:
            self._gathered.append(content)
            self._push_gathered()
            want = exchange.push(b"", True)
        elif exchange.responding:
            want = exchange.push(content, True)
        else:
            assert self._head is not None, "content has its turn after the head"
            want = exchange.respond(self._head, content, True)
        self._end(want)

    def _end(self, want: Any) -> None:
        """The answer is whole, as far as the application is concerned."""
        self.answered = True
        if not self._held:
            self._link.carry(want)
        if self._waiters:
            self.wake()

    # Extensions

    async def _send_other(self, kind: str, message: Message) -> None:
        """To a server that does not offer it, a message of an extension is one of an unknown type, at which it should
        raise (ASGI, "Error Handling"). That the client of HTTP/1.0 cannot take what the server has is no error."""
        if kind not in self._extensions:
            raise RuntimeError(f"{kind!r} is no message of HTTP, nor of an extension that is offered")
        if kind == "http.response.zerocopysend":
            self._check_turn(kind)
            await self._send_region(region_of(message), not message.get("more_body", False))
        elif kind == "http.response.pathsend":
            self._check_turn(kind)
            await self._send_path(open_path(message))
        elif kind == "http.response.early_hint":
            if not (self.answered or self._exchange.responding or self._exchange.lost or self._gathered):
                self._link.carry(self._exchange.inform(hints_of(message)))
        elif kind == "http.response.trailers":
            self._add_trailers(message)
        else:
            raise AssertionError(f"{kind} is offered, and not implemented")

    async def _send_path(self, descriptor: int) -> None:
        try:
            await self._send_region(whole_file(descriptor), True)
        finally:
            os.close(descriptor)

    async def _send_region(self, region: FileRegion, last: bool) -> None:
        """A stretch of a file. Returns when the client has taken it: the file is the application's to close then."""
        if last and not self._gathered and self._head is not None and self._head.content_length is None:
            self._head = with_length(self._head, region.count)
        try:
            if self._gathered:
                await self._send_gathered()
            await self._until_gone()
            self._link.carry(self._push(region))
            await self._until_gone()
        except BaseException:
            if not self.answered:  # nobody may read on from a descriptor that is closed soon
                self.give_up()
            raise
        if last:
            self._finish(b"")

    def _add_trailers(self, message: Message) -> None:
        trailers = self._trailers
        if trailers is None or not trailers.due or self.answered:
            raise RuntimeError("http.response.trailers was not announced, or it is not their turn")
        trailers.fields += fields_of(message)
        if message.get("more_trailers", False):
            return
        section = trailer_section(trailers.fields)
        if self._gathered:
            self._push_gathered()
        self._end(self._exchange.finish(section if trailers.wanted else b""))
