"""An exchange that two threads share: the ASGI application answers it in the thread of an event loop, and
another thread, that of the client, receives and sends the bytes. The rules by which they share it are in
`_asgi_in_thread`.
"""

from collections.abc import Callable
from socket import socket
from time import monotonic

from septet.exchange import Delivery, Fields, Part, Request, ResponseHead, Want
from septet.models._drive import drive, expire, receive_compactly
from septet.models._waker import Waker
from septet.models._watched import UNREAD_LIMIT
from septet.pollers import ERROR, HANGUP, READABLE, WRITABLE
from septet.processes.orders import Stop
from septet.processes.request_watch import ANSWERED, CUT
from septet.protocol import CLOSE, EITHER, READ, RUN, WRITE, ServerExchange, ServerProtocol


class SharedExchange:
    """A session that two threads use while an ASGI application answers one of its requests: the thread of the
    application's event loop, and that of the client. To the application's channel it is the `exchange.Exchange` and
    the `apps._channel.Carrier`. Each thread holds the lock of `waker` while it uses the session.

    Properties that read one attribute of the session take no lock: if the value changes later, the channel is
    woken.
    """

    __slots__ = (
        "_complete",
        "_exchange",
        "_received",
        "_released",
        "_session",
        "_sock",
        "_stop",
        "_waker",
        "body",
        "client",
        "delivery",
        "server",
        "tls",
    )

    def __init__(self, session: ServerProtocol, sock: socket, waker: Waker, stop: Stop) -> None:
        self._session = session
        self._exchange = session.exchange
        self._sock = sock
        self._waker = waker
        self._stop = stop
        self._complete = False
        """True if the application has given its whole answer."""
        self._released = False
        """True if the client's thread has finished with the exchange: the session may be at the next one."""
        self._received = False
        """True if part of the request's body has been received since the application last called `poll` for some. Then
        `want_body` does not wait, and the application calls `poll` again.
        """
        self.client = session.exchange.client
        self.server = session.exchange.server
        self.tls = session.exchange.tls
        self.body = None
        self.delivery: Delivery | None = None

    # What the application calls, in the loop's thread

    @property
    def request(self) -> Request:
        return self._exchange.request

    @property
    def called_ns(self) -> int:
        """When the application was called, in nanoseconds of CLOCK_MONOTONIC. Raises AttributeError if the session does
        not note that.
        """
        return self._exchange.called_ns  # type: ignore[attr-defined,no-any-return]

    @called_ns.setter
    def called_ns(self, now_ns: int) -> None:
        self._exchange.called_ns = now_ns  # type: ignore[attr-defined]

    @property
    def lost(self) -> bool:
        return self._exchange.lost

    @property
    def gone(self) -> bool:
        return self._exchange.gone

    @property
    def body_complete(self) -> bool:
        return self._exchange.body_complete

    @property
    def waits(self) -> bool:
        return self._exchange.waits

    @property
    def blocked(self) -> bool:
        return self._exchange.blocked

    @property
    def responding(self) -> bool:
        return self._exchange.responding

    @property
    def half_closed(self) -> bool:
        return self._exchange.half_closed

    @property
    def content_ended(self) -> bool:
        return self._exchange.content_ended

    @property
    def extended(self) -> bool:
        return self._exchange.extended

    @property
    def content_complete(self) -> bool:
        return self._exchange.content_complete

    def complain_of_excess(self, request: Request, given: int, promised: int) -> None:
        self._exchange.complain_of_excess(request, given, promised)

    @property
    def answered(self) -> bool:
        return self._complete

    def read(self) -> bytes:
        raise AssertionError("an ASGI application polls")

    def poll(self) -> bytes | None:
        part = None
        try:
            with self._waker.lock:
                self._received = False
                part = self._exchange.poll()
        except BaseException:
            if part:  # another thread's exception: the application has not got it, and would read on behind it
                self.lose()
            raise
        return part

    def want_body(self) -> Want:
        with self._waker.lock:
            return RUN if self._received else self._exchange.want_body()

    def respond(self, head: ResponseHead, body: Part, last: bool) -> Want:
        with self._waker.lock:
            if self._stop.ordered:
                # The answer says that it is the last. HTTP/2 has a gentler way if there is a successor.
                self._session.drain() if self._stop.draining else self._session.stop()
            want = self._exchange.respond(head, body, last)
            self._complete = last
            return want

    def push(self, body: Part, last: bool) -> Want:
        with self._waker.lock:
            want = self._exchange.push(body, last)
            self._complete = last
            return want

    def finish(self, trailers: Fields) -> Want:
        with self._waker.lock:
            want = self._exchange.finish(trailers)
            self._complete = True
            return want

    def inform(self, status: int, fields: Fields) -> Want:
        with self._waker.lock:
            return self._exchange.inform(status, fields)

    def fail(self) -> Want:
        with self._waker.lock:
            self._complete = True
            session = self._session
            if session.phase.want is WRITE:  # output is sent first, as far as the socket takes it now
                drive(WRITE, session, self._sock, self._dispatch)
            return self._exchange.fail()

    def lose(self) -> Want:
        with self._waker.lock:
            self._complete = True
            return self._session.phase.want if self._released else self._session.lose()

    def drive(self, want: Want) -> None:
        """Wake the client's thread, which does what the session wants at that moment. `want` is not used; the
        signature is that of `apps._channel.Carrier.drive`.
        """
        self._waker.wake()

    @property
    def has_work_for_client_thread(self) -> bool:
        """True if the client's thread has something to send or to receive, or the answer is complete."""
        return self._complete or self._session.phase.want is not RUN

    def carries(self, exchange: ServerExchange) -> bool:
        return self._exchange is exchange

    def time_out(self) -> str | None:
        """End a request that has exceeded `--request-timeout`: answer 504, or close the connection if an answer has
        begun. Whatever the application gives from now on is not sent. Returns which of the two was done, or None if the
        request was answered, as `Running.end` does. May be called by any thread.
        """
        with self._waker.lock:
            if self._released or self._complete:
                return None
            outcome = CUT if self._exchange.responding else ANSWERED
            self._exchange.time_out()
            self._exchange.fail()
            self._complete = True
        self._waker.wake()
        return outcome

    def cut(self) -> None:
        """Close the connection without a further byte, unless the client's thread has finished with this exchange
        already. Called by the loop's thread.
        """
        with self._waker.lock:
            if not self._released:
                self._session.stop()  # so that it is known that the client has not left
                self._session.lose()
        self._waker.wake()

    # For the client's thread

    def deliver(self, begin: Callable[[], None], change: Callable[[], None]) -> Want:
        """Call `begin`, and move the bytes until the answer is complete and sent, or the client is gone. Blocks
        meanwhile, and returns what the connection wants next.

        begin: starts the application. change: called after every event that the application may wait for.
        """
        waker = self._waker
        descriptor = self._sock.fileno()
        timeout = None
        try:
            watched = self._mask()
            waker.poller.add(descriptor, watched)
            with waker.lock:
                waker.prepare_to_wait()
            begin()
            while True:
                ready = waker.wait(timeout)
                with waker.lock:
                    waker.stop_waiting(ready)
                    changed = self._advance(ready.get(descriptor, 0), not ready, overdue=timeout == 0.0)
                    want = self._session.phase.want
                    if want is CLOSE or (self._complete and not self._has_output(want)):
                        self._released = True
                    else:
                        timeout = self._time_left()
                        waker.prepare_to_wait()
                if changed:
                    change()
                if self._released:
                    waker.poller.remove(descriptor)
                    return want
                mask = self._mask()
                if mask != watched:
                    watched = mask
                    waker.poller.modify(descriptor, mask)
        except BaseException:
            try:
                self._give_up(descriptor, change)
            finally:  # again, in case another thread's exception (PyThreadState_SetAsyncExc) interrupted the first call
                self._give_up(descriptor, change)
            raise

    def _has_output(self, want: Want) -> bool:
        """True if output waits for the client that may be the end of the answer. What else waits is sent by the thread
        after `deliver`, which then can be told of the order to stop.
        """
        return want is WRITE or (want is EITHER and not self._session.phase.interruptible)

    def _give_up(self, descriptor: int, change: Callable[[], None]) -> None:
        """Close the connection after an exception in the server itself, and call `change`, by which the application
        learns of it. It does no harm to call this twice.
        """
        with self._waker.lock:
            self._released = True
            self._session.lose()
        self._waker.poller.remove(descriptor)
        change()

    def _advance(self, ready: int, timed_out: bool, overdue: bool = False) -> bool:
        """Receive and send as far as the socket allows. ready: the socket's events. timed_out: True if the wait ended
        without events. overdue: True if the deadline had passed when the wait began; then what has come is taken, but
        does not put off the end of a client that never ceases to send. Returns True if something has happened that the
        application may wait for. The caller holds the lock."""
        session = self._session
        before, gone, lost = session.phase.want, self._exchange.gone, self._exchange.lost
        want = before
        if session.phase.paced:
            session.waited(monotonic())
        if ready and before is RUN and ready & (ERROR | HANGUP):
            want = session.lose()
        elif ready and (before is READ or before is RUN or (before is EITHER and ready & READABLE)):
            want = receive_compactly(session, self._sock)
            self._received = True
        elif timed_out and self._is_late():
            want = expire(session, self._sock)
        want = drive(want, session, self._sock, self._dispatch)
        if overdue and not timed_out and self._is_late():
            want = drive(expire(session, self._sock), session, self._sock, self._dispatch)
        if self._complete:
            return False
        # A client that has half-closed is "gone", and is lost when it does not take what is sent.
        return (want is RUN and before is not RUN) or self._exchange.gone != gone or self._exchange.lost != lost

    def _mask(self) -> int:
        """Return the poll(2) events to watch the socket for; 0: only errors, which are always reported. While the
        application runs, bytes are received until UNREAD_LIMIT are waiting for it.
        """
        session = self._session
        want = session.phase.want
        if want is WRITE:
            return WRITABLE
        deaf = session.phase.deaf
        if want is EITHER:
            return WRITABLE if deaf else READABLE | WRITABLE
        if want is READ and deaf:
            return 0
        if want is RUN and (session.gone or session.unread > UNREAD_LIMIT):
            return 0  # poll(2) reports errors in any case
        return READABLE

    def _time_left(self) -> float | None:
        """Seconds until the session's deadline; None: it has none."""
        if self._session.phase.timeout is None:
            return None
        now = monotonic()
        deadline = self._session.deadline(now)
        return None if deadline is None else max(0.0, deadline - now)

    def _is_late(self) -> bool:
        now = monotonic()
        deadline = self._session.deadline(now)
        return deadline is not None and now >= deadline

    def _dispatch(self, exchange: ServerExchange) -> Want | None:
        """Called by `drive` at RUN, where other models call the application. Does nothing: the application runs on the
        loop already, and the client's thread begins the next request when this exchange is over.
        """
        return None

    def stop(self) -> None:
        """Called when the server is told to stop. Does nothing, because the request that is being answered is answered
        to its end; a WebSocket, which has no such end, does otherwise.
        """
