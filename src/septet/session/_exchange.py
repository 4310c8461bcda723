"""The current request of a session, its body and its answer: `exchange.Exchange` over HTTP/1.1.

A base class of `Session`, which creates the attributes and goes from one request to the next.
"""

from io import BytesIO
from operator import attrgetter
from typing import Any

from septet.exchange import (
    ClientGone,
    Delivery,
    Fields,
    FileRegion,
    Part,
    ProtocolError,
    Request,
    ResponseHead,
    TlsInfo,
    Want,
)
from septet.http.codec import CONTINUE, Http1Codec
from septet.http.head import reason_phrase, response_head
from septet.http.incoming import CONTINUE_PENDING
from septet.protocol import READ, WRITE
from septet.rules import Rules
from septet.session._output import OutputQueue
from septet.session.phases import ANSWER, BODY, TURN

_UNREADABLE = ProtocolError(500, "the body could not be read")


class Http1Exchange(OutputQueue):
    """One request and its answer; HTTP/1.1 has one exchange at a time on a connection."""

    __slots__ = (
        "_fault",
        "_peer_unnamed",
        "_rules",
        "body",
        "client",
        "collects",
        "delivery",
        "http",
        "observer_state",
        "request",
        "server",
        "tls",
    )

    _rules: Rules
    http: Http1Codec
    request: Request
    """The current request. The codec (`http`) holds it as well; it is stored here because it is read several times in
    each exchange.
    """
    client: tuple[str, int] | None
    server: tuple[str, int | None]
    tls: TlsInfo | None
    _peer_unnamed: bool
    """True if the connection began with a PROXY header that does not name the client. Then the requests may be any
    client's, and `peer` is unknown.
    """
    body: Any
    collects: bool
    """True if the body of the request is collected (`Rules.spool`) before the application is called."""
    delivery: Delivery | None
    observer_state: Any
    """Anything that the observer (`rules.Observer`) keeps here while the request is in flight; the session does not
    read it.
    """
    _fault: ProtocolError | None
    """The error noted for this request: the client has broken the protocol or was too slow, or the application has
    exceeded `--request-timeout`. `fail` answers with its status. None: there is no error.
    """

    @property
    def peer(self) -> str:
        """The peer, as lists of trusted proxies name it: its IP address, or "unix:" on a unix socket.

        "" if unknown: the client left before its address could be read, or a proxy does not name its client.
        """
        if self._peer_unnamed:
            return ""
        return self.client[0] if self.client else "unix:" if self.server[1] is None else ""

    # State

    @property
    def responding(self) -> bool:
        return self.http.status != 0

    # Observers read these of each answer; so the function in C costs half of one in Python.
    status = property(attrgetter("http.status"))
    sent = property(attrgetter("http.sent"))

    @property
    def fault(self) -> ProtocolError | None:
        """Why the server has ended this exchange, or is about to: the client has broken the protocol or was too slow,
        the application has failed in the middle of its answer, or has exceeded `--request-timeout` (status 504). None:
        there is no such reason.
        """
        return self._fault

    @property
    def content_ended(self) -> bool:
        return self.http.content_ended

    @property
    def content_complete(self) -> bool:
        return self.http.content_complete

    @property
    def answered(self) -> bool:
        return self.http.answered

    @property
    def body_complete(self) -> bool:
        return self.http.body_complete

    @property
    def waits(self) -> bool:
        return self.phase.want is READ or self.phase.want is WRITE

    @property
    def blocked(self) -> bool:
        return self.phase.want is WRITE

    @property
    def extended(self) -> bool:
        return self.request.version != "1.0"

    def completed_by(self, part: Part) -> bool:
        return self.http.completed_by(part)

    def complain_of_excess(self, request: Request, given: int, promised: int) -> None:
        self.http.complain_of_excess(request, given, promised)

    @property
    def gone(self) -> bool:
        """True if the client is lost, sends no more, or has broken the protocol in the middle of a body."""
        return self.lost or self.http.ended or self._fault is not None

    @property
    def half_closed(self) -> bool:
        """True if the request is complete and the client sends no more. It may still read the answer, or it may have
        left."""
        http = self.http
        return http.ended and not self.lost and self._fault is None and http.body_complete

    # The request's body

    def poll(self) -> bytes | None:
        if self._fault is not None:
            raise ClientGone(str(self._fault))
        try:
            return self.http.read_body()
        except ProtocolError as fault:
            self._fault = fault
            self.http.keep_alive = False
            raise ClientGone(str(fault)) from fault
        except ClientGone as gone:
            self._fault = ProtocolError(400, str(gone))
            raise
        except BaseException:  # for want of memory or of frames: some of the body is lost, and the rest is misread
            self._fault = _UNREADABLE
            self.http.keep_alive = False
            raise

    def want_body(self) -> Want:
        """Ask the client for more of the body, and return what the connection wants next. Sends 100 Continue first if
        the client expects it (RFC 9110 section 10.1.1).
        """
        if self.output or self.file:
            return WRITE
        if self.http.wants_continue:
            self.http.continued = CONTINUE_PENDING
            self.output = CONTINUE
            return self._enter(ANSWER)
        return self._enter(BODY)

    def read(self) -> bytes:
        while (part := self.poll()) is None:
            try:
                self.want_body()
            except BaseException:  # of a signal handler, which the application may catch: the phase may be another one
                self._fault = _UNREADABLE
                self.http.keep_alive = False
                raise
            assert self.delivery is not None, "a body that is read as it comes is read by an application that is called"
            self.delivery.await_body()
        return part

    def _continue_sent(self) -> Want:
        """Called when 100 Continue has been sent: enter the phase in which the body is read, and return what the
        connection wants in it. Some of the body may have come already.
        """
        self.http.continued = True
        if self.collects:
            return self._fill_spool()
        return self._enter(TURN if self.http.pending or self.http.ended else BODY)

    def _fill_spool(self) -> Want:
        """Store what has come of the body, for models that collect the body before they call the application. Returns
        what the connection wants next: RUN when the body is complete. A body that is malformed or cannot be stored is
        answered with an error.
        """
        try:
            while part := self.http.read_body():
                if self.body is None:
                    if self.http.body_complete:  # most bodies come in one piece, and need no file
                        self.body = BytesIO(part)
                        return self._enter(TURN)
                    self.body = self._rules.spool()  # type: ignore[misc]
                self.body.write(part)
            if part is not None:
                self.body = self.body or BytesIO()
                self.body.seek(0)
        except ProtocolError as fault:
            self.drop_body()
            return self.refuse(fault)
        except ClientGone as gone:  # the client may still read, so it is answered (RFC 9112 section 8)
            return self.refuse(ProtocolError(400, str(gone)))
        except OSError as error:  # the disk is full
            self.drop_body()
            self._rules.lacking(f"cannot store the body of a request: {error.strerror}")
            return self.refuse(ProtocolError(500, "the body could not be stored"))
        if part is not None:
            return self._enter(TURN)
        # If the phase is BODY already, it is not entered again: that would restart its deadline with every byte.
        return READ if self.phase is BODY else self.want_body()

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

    # The answer

    def respond(self, head: ResponseHead, body: Part, last: bool) -> Want:
        return self._queue(self.http.respond(head, body, last), body)

    def push(self, body: Part, last: bool) -> Want:
        data = self.http.send(body, last)
        if last and type(body) is not bytes and isinstance(body, FileRegion) and (end := self.http.end_of_file()):
            if not body.count:
                return self._queue(data + end, b"")
            self._queue(data, body)
            return self._queue(end, b"")
        return self._queue(data, body)

    def finish(self, trailers: Fields) -> Want:
        return self._queue(self.http.finish(trailers), b"")

    def inform(self, status: int, fields: Fields) -> Want:
        interim = self.http.inform(status, fields)
        if self.lost or not interim:
            return self.phase.want
        return self._queue(interim, b"")

    def fail(self) -> Want:
        """End the exchange after the application has raised, or ended without a whole answer. If no answer has begun,
        answer 500, or the status of an error noted before (such as 408 if the client was too slow); else close the
        connection before the answer is complete. If the client has left, or the connection is over for another reason,
        this changes nothing: no answer begins, and observers are told that reason.
        """
        if self.lost:
            return self.phase.want
        try:
            return self.refuse(self._fault) if self._fault else self._send_error(500, "the application failed")
        except MemoryError:  # perhaps the application failed for lack of memory, too
            return self.lose()

    def time_out(self) -> None:
        self._fault = ProtocolError(504, "the application took too long")
        self.http.keep_alive = False

    def refuse(self, fault: ProtocolError) -> Want:
        """Answer with the status of `fault`, and close the connection after the answer. If an answer has begun, close
        the connection before it is complete.
        """
        self._fault = fault
        self.http.keep_alive = False
        self._rules.refused(f"a request from {self.peer or 'an unknown client'} is answered {fault.status}: {fault}")
        return self._send_error(fault.status, str(fault))

    def _send_error(self, status: int, text: str, *more: tuple[bytes, bytes]) -> Want:
        if self.http.status:
            self._fault = self._fault or ProtocolError(status, text)
            return self.lose()
        fields = ((b"Content-Type", b"text/plain; charset=utf-8"), *more)
        head = response_head(status, reason_phrase(status).encode("ascii"), fields)
        return self.respond(head, text.encode() + b"\n", True)
