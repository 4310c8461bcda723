"""The body of an HTTP/2 request: the application reads it as it comes, or it is collected first. A base class of
`_http2_exchange.Http2Exchange`, which creates the attributes.
"""

from collections import deque
from collections.abc import Callable
from io import BytesIO
from typing import Any, Protocol

from septet.exchange import ClientGone, Delivery, FileRegion, ProtocolError, Request, TlsInfo, Want
from septet.http2.connection import Http2Connection
from septet.protocol import Phase
from septet.rules import Rules
from septet.session.phases import Pace


class Connection(Protocol):
    """What an exchange uses of its HTTP/2 session. `session.http2.Http2Session` implements it."""

    rules: Rules
    codec: Http2Connection
    client: tuple[str, int] | None
    server: tuple[str, int | None]
    tls: TlsInfo | None
    unread_ms: Callable[[], int | None]
    phase: Phase

    @property
    def peer(self) -> str: ...

    @property
    def stopping(self) -> bool: ...

    @property
    def stops_now(self) -> bool: ...

    @property
    def refused_until(self) -> float | None: ...

    @property
    def ended(self) -> bool: ...

    @property
    def lost(self) -> bool: ...

    def go_on(self) -> Want:
        """Enter the phase that fits after an exchange has changed, and return what the connection wants in it."""

    def has_output(self, exchange: Any) -> None:
        """Called when the exchange has queued output for the client: the session puts it among the exchanges whose
        content is sent next.
        """

    def has_turn(self, exchange: Any) -> None:
        """Called when the application of `exchange` must be called or, if it runs, woken, because content, room for
        output or the end has come: the session queues the exchange, and has the model do so.
        """

    def finished(self, exchange: Any) -> None:
        """Called when the exchange's stream and its application have both ended: the session no longer keeps
        the exchange.
        """

    def answered_early(self, stream: int, unread: int) -> None:
        """Called when the whole answer on `stream` is in the output before the request has ended. What still comes of
        the request is discarded, and so are `unread` bytes that have come and that the application has not read.
        """

    def lose(self) -> Want: ...


_UNREADABLE = ProtocolError(500, "the body could not be read")


class RequestBody:
    """The part of an HTTP/2 exchange that receives the request's body."""

    __slots__ = (
        *("_content", "_continued", "_end_queued", "_fault", "_head_sent", "_pace", "_pieces", "_received"),
        *("_session", "_trailers", "admitted", "answered", "answered_ns", "begun", "body", "called_ns"),
        *("client", "collects", "delivery", "due_at", "input_ended", "later", "lost", "observer_state"),
        *("over", "queued", "request", "request_id", "response_head", "server", "status", "stream"),
        *("tls", "tunnel", "turn_due", "urgency", "waits_for_body"),
    )

    _session: Connection
    _pieces: list[bytes]
    _received: int
    _continued: bool
    _fault: ProtocolError | None
    _pace: Pace | None
    answered: bool
    begun: bool
    body: Any
    collects: bool
    delivery: Delivery | None
    input_ended: bool
    later: "deque[bytes | bytearray | FileRegion] | None"
    lost: bool
    request: Request
    status: int
    stream: int
    waits_for_body: bool

    def refuse(self, fault: ProtocolError) -> Want:
        raise NotImplementedError

    def took(self, data: bytes) -> None:
        """Add content that has come on the stream to the body, or discard it if the answer is complete. Called by the
        session.
        """
        self._received += len(data)
        if self.answered or self.lost:
            self._session.codec.used(self.stream, len(data))
            return
        self._pieces.append(data)
        limit = self._session.rules.limits.body
        if self._received > limit > 0:
            self._break(ProtocolError(413, f"the body is larger than {limit} bytes"))
        elif self.collects:
            self._collect()
        elif self.waits_for_body:
            self._wake()

    def ends_input(self) -> None:
        """Called by the session when the client has sent the whole body. If the body is collected, the application is
        called now; if the application waits for the body, it is woken.
        """
        self.input_ended = True
        if self.collects:
            self._collect()
        elif self.waits_for_body:
            self._wake()

    def connection_ended(self) -> None:
        """Called by the session when the client sends no more on any stream: the application is woken, because it may
        wait for something that will not come.
        """
        self._wake()

    def _wake(self) -> None:
        self.waits_for_body = False
        self._session.has_turn(self)

    def _break(self, fault: ProtocolError) -> None:
        """End the body with the error `fault`, because the client has broken a rule or was too slow. If the application
        runs, it is told that the client is gone; if it was not called yet, the client is answered with the status of
        `fault`.
        """
        if self.collects or not self.begun:
            self.collects = False
            self.drop_body()
            self.refuse(fault)
            return
        self._fault = fault
        self._wake()

    def poll(self) -> bytes | None:
        if self._fault is not None:
            raise ClientGone(str(self._fault))
        if self._pieces:
            try:
                data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
                self._pieces.clear()
                self._session.codec.used(self.stream, len(data))
            except BaseException:  # for want of memory or of frames: some of the body is lost
                self._fault = _UNREADABLE
                raise
            return data
        if self.input_ended:
            return b""
        if self.lost or self._session.ended:
            raise ClientGone("the client went away in the middle of its request's body")
        return None

    def want_body(self) -> Want:
        if not (self.lost or self._pieces or self.input_ended):
            self.waits_for_body = True
            self._continue()
        return self._session.go_on()

    def _continue(self) -> None:
        """Send 100 Continue if the client expects it and nothing of the body has come."""
        if self.request.expects_continue and not (self._continued or self._received or self.status):
            self._continued = True
            self._session.codec.send_head(self.stream, ((b":status", b"100"),), False)

    def read(self) -> bytes:
        while (part := self.poll()) is None:
            try:
                self.want_body()
            except BaseException:  # of a signal handler: the state of the connection's frames may be half changed
                self._session.lose()
                raise
            assert self.delivery is not None, "a body that is read as it comes is read by an application that is called"
            self.delivery.await_body()
        return part

    def collect(self) -> None:
        """Begin to collect the whole body, for models that do so before they call the application. Sends 100 Continue
        if the client expects it.
        """
        self._continue()
        self._collect()

    def _collect(self) -> None:
        """Store what has come of the body; when it is complete, have the application called."""
        rules = self._session.rules
        whole = self.input_ended
        try:
            data = b"".join(self._pieces)
            self._pieces.clear()
            if data:
                self._session.codec.used(self.stream, len(data))
                if self.body is None:
                    self.body = BytesIO() if whole else rules.spool()  # type: ignore[misc]
                self.body.write(data)
            if whole:
                self.body = self.body or BytesIO()
                self.body.seek(0)
        except ProtocolError as fault:  # all temporary files together are at their limit
            self._break(fault)
            return
        except OSError as error:  # the disk is full
            rules.lacking(f"cannot store the body of a request: {error.strerror}")
            self._break(ProtocolError(500, "the body could not be stored"))
            return
        if whole:
            self.collects = False
            self._pace = None
            self._session.has_turn(self)

    def drop_body(self) -> None:
        """Close the file in which the body was collected, if there is one."""
        body, self.body = self.body, None
        if body is not None:
            try:
                body.close()
            except (OSError, BufferError):
                # It flushes first, and the data is not needed any more. Or the application keeps a view of it
                # (`getbuffer`), with which it goes.
                pass

    @property
    def body_complete(self) -> bool:
        return self.input_ended and not self._pieces
