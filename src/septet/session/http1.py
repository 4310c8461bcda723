"""One client that speaks HTTP/1.1: a `ServerProtocol`, and the `Exchange` of the request that it is at.

Requests follow each other on a connection, and one answer is complete before the next request has its turn. So the
session is both: the connection, for the carrier that moves its bytes, and the exchange, for the application that
answers. What is given while other output still waits lines up behind it, in order: an application may run ahead of its
client, as far as its carrier lets it.
"""

from collections import deque
from io import BytesIO
from typing import Any

from septet.exchange import ClientGone, Delivery, Fields, FileRegion, Part, ProtocolError, Request, ResponseHead, Want
from septet.http.codec import CONTINUE, Http1Codec
from septet.http.head import reason_phrase, response_head
from septet.http.incoming import CONTINUE_PENDING, IDLE_REQUEST
from septet.http.pace import Pace
from septet.protocol import CLOSE, READ, RUN, WRITE, Phase
from septet.proxies.proxy_protocol import decode
from septet.rules import STOPPING_S, Rules
from septet.session.phases import ANSWER, BODY, DRAIN, HEAD, IDLE, LINGER, OVER, PROXY_HEADER, TURN

RETRY_AFTER_S = 1
"""What a client is told that was not admitted: requests are short, or there would be no point in asking again."""

LINGER_BYTES = 1 << 20
"""What is passed over at most after our last answer: a client that sends more has had its chance."""

JOINED_BYTES = 65536
"""Output is joined into pieces of about this size: one send(2) each, and no copy of what is larger."""


class Session:
    """One client connection. Implements `protocol.ServerProtocol` and `exchange.Exchange`."""

    __slots__ = (
        "_admitted",
        "_discarded",
        "_fault",
        "_pace",
        "_rules",
        "_unnamed",
        "body",
        "client",
        "delivery",
        "ended",
        "exchange",
        "file",
        "http",
        "later",
        "lost",
        "observer_state",
        "output",
        "phase",
        "request",
        "server",
        "since",
    )

    def __init__(self, rules: Rules, client: tuple[str, int] | None, server: tuple[str, int | None]) -> None:
        self._rules = rules
        self.client = client
        self.server = server
        self.http = Http1Codec(rules.limits, rules.date_and_server, rules.complain)
        self.request = self.http.request
        """The codec's, without a call: it is asked for several times in each exchange."""
        self._unnamed = False
        """A proxy passes on what somebody sends, and does not say who."""
        self.phase: Phase = (
            PROXY_HEADER if rules.expects_proxy_header and rules.expects_proxy_header(self.peer) else IDLE
        )
        self.since: float | None = None
        """When the phase began; None until somebody looks."""
        self.output: bytes | memoryview = b""
        self.file: FileRegion | None = None
        """To be sent after `output`."""
        self.later: deque[bytes | bytearray | FileRegion] | None = None
        """To be sent after `file`, in this order. None mostly: while nothing has lined up."""
        self.body: Any = None
        self.delivery: Delivery | None = None
        self.exchange: Session = self
        """At RUN, whose turn it is: HTTP/1.1 has one exchange at a time. None when the connection is over, lest the
        session refer to itself."""
        self.lost = False
        self.ended = False
        self.observer_state: Any = None
        """The observer's own."""
        self._fault: ProtocolError | None = None
        """What the client did wrong while the application had its turn."""
        self._pace: Pace | None = None
        """Of the client in this exchange; None until somebody looks."""
        self._admitted = False
        self._discarded = 0

    @property
    def peer(self) -> str:
        """Whose word it is that comes here, as lists have it: an address, or `unix:` on a unix socket.

        Empty where that is not known: it left too soon to be asked, or a proxy passes it on and does not say who it is.
        """
        if self._unnamed:
            return ""
        return self.client[0] if self.client else "unix:" if self.server[1] is None else ""

    # What the carrier asks and tells

    reads_files = False

    @property
    def want(self) -> Want:
        return self.phase.want

    @property
    def unread(self) -> int:
        return self.http.pending

    @property
    def stopping(self) -> bool:
        return self.http.stopping

    @property
    def closes(self) -> bool:
        return self.http.stopping or not self.http.keep_alive

    @property
    def gone(self) -> bool:
        """The client is gone, sends no more, or what it sends is of no use."""
        return self.lost or self.http.ended or self._fault is not None

    @property
    def half_closed(self) -> bool:
        """The request is complete and nothing comes after it: the client may still read, or it may have left."""
        http = self.http
        return http.ended and not self.lost and self._fault is None and http.body_complete

    def _enter(self, phase: Phase) -> Want:
        self.phase = phase
        self.since = None
        return phase.want

    def receive(self, data: bytes) -> Want:
        phase = self.phase
        if phase is LINGER:
            return self._discard(data)
        http = self.http
        if phase is IDLE and http.begin(data):
            self.request = request = http.request
            if not self._admit(request):
                return self.phase.want
            self.phase = TURN
            self.since = None
            return RUN
        if not data:
            self.ended = True
        http.receive(data)
        if phase is IDLE or phase is HEAD:
            return self._next_request()
        if phase is BODY:
            return self._fill_spool() if self._rules.spool else self._enter(TURN)
        if phase is DRAIN:
            return self._drain()
        if phase is PROXY_HEADER:
            return self._read_proxy_header()
        return phase.want

    def wrote(self, count: int) -> Want:
        output = self.output
        if output:
            if count < len(output):
                self.output = memoryview(output)[count:]
                return WRITE
            self.output = b""
            if self.file is not None:
                return WRITE
            return self._flushed() if self.later is None else self._next_queued(self.later)
        assert self.file is not None
        return self._wrote_file(self.file, count)

    def read_file(self, data: bytes) -> Want:
        raise AssertionError("a file goes by sendfile(2)")

    def _wrote_file(self, file: FileRegion, count: int) -> Want:
        if not count:  # The file is shorter than it was: what was promised cannot be kept.
            return self.lose()
        file.offset += count
        file.count -= count
        if file.count:
            return WRITE
        self.file = None
        return self._flushed() if self.later is None else self._next_queued(self.later)

    def _next_queued(self, later: "deque[bytes | bytearray | FileRegion]") -> Want:
        """The next of what has lined up: a piece in memory, a stretch of a file, or one after the other."""
        if not isinstance(later[0], FileRegion):
            self.output = bytes(later.popleft())  # type: ignore[arg-type]
        if later and isinstance(later[0], FileRegion):
            self.file = later.popleft()  # type: ignore[assignment]
        if not later:
            self.later = None
        return WRITE

    def _flushed(self) -> Want:
        """All output has gone: whose turn is it?"""
        http = self.http
        if not http.answered:
            return self._continue_sent() if http.continued is CONTINUE_PENDING else self._enter(TURN)
        if self._rules.observer and http.status:
            self._rules.observer.ended(self)
        self._pace = None
        if self._admitted:
            self._release()
        if self.body is not None:
            self.drop_body()
        if not http.keep_alive or http.stopping:
            return self._enter(OVER)
        if http.input_consumed:
            http.request = self.request = IDLE_REQUEST
            self.phase = IDLE
            self.since = None
            return READ
        return self._next_request() if http.body_complete else self._drain()

    def _continue_sent(self) -> Want:
        """100 Continue has gone; some of the body may have come meanwhile."""
        self.http.continued = True
        if self._rules.spool:
            return self._fill_spool()
        return self._enter(TURN if self.http.pending or self.http.ended else BODY)

    def deadline(self, now: float) -> float | None:
        phase = self.phase
        if phase.timeout is None:
            return None
        timeout: float = getattr(self._rules.timeouts, phase.timeout)
        stops = self.http.stopping and self._is_held_by_client
        if stops:
            timeout = min(timeout, STOPPING_S)
        if phase.paced and not stops:
            pace = self._pace
            if pace is None or pace.timeout != timeout:
                pace = self._pace = Pace(timeout, self._rules.timeouts.rate)
            return pace.deadline(now, self._moved)
        if self.since is None:
            self.since = now
        return self.since + timeout

    def waited(self, now: float) -> None:
        if self._pace is not None:
            self._pace.waited(now, self._moved)

    @property
    def _moved(self) -> int:
        waiting = len(self.output) + (self.file.count if self.file else 0)
        for item in self.later or ():
            waiting += item.count if isinstance(item, FileRegion) else len(item)
        return self.http.moved - waiting

    def expire(self) -> Want:
        """The deadline has passed."""
        if self.http.stopping and self.phase is HEAD:
            return self.lose()
        if self.http.stopping and self._is_held_by_client and self.phase is BODY:
            return self.refuse(ProtocolError(503, "the server stops, and the body has not come"))
        if not self.phase.answers:
            return self.lose() if self.phase is not IDLE else self._enter(OVER)
        late = ProtocolError(408, f"the {self.phase.name} of the request did not come in time")
        if self.phase is BODY and not self._rules.spool:  # The application waits for it, and is told.
            self._fault = late
            self.http.keep_alive = False
            return self._enter(TURN)
        if self.phase is HEAD:
            self.http.begin_nothing()
            self.request = self.http.request
        return self.refuse(late)

    def stop(self) -> Want:
        """Take no further request: end now if nothing is in flight, else after the answer.

        A head of which some has come is given STOPPING_S for its rest, and so is a body that we collect.
        """
        self.http.stopping = True
        if self.phase in (IDLE, DRAIN, PROXY_HEADER):
            return self._enter(OVER)
        if self._is_held_by_client:
            self.since = None
        return self.phase.want

    @property
    def _is_held_by_client(self) -> bool:
        """No application has been called, or it has answered: nothing is in flight, though the client is not done."""
        phase = self.phase
        return phase is HEAD or phase is LINGER or (phase is BODY and self._rules.spool is not None)

    def lose(self) -> Want:
        self.lost = True
        self.output = b""
        self.file = self.later = None
        return self._enter(OVER)

    def close(self) -> None:
        self.delivery = None
        self.exchange = None  # type: ignore[assignment]
        self.drop_body()
        if self._admitted:
            self._release()

    def drop_body(self) -> None:
        """Close the file in which a body was collected."""
        body, self.body = self.body, None
        if body is not None:
            try:
                body.close()
            except OSError:  # it flushes first what nobody will read
                pass

    @property
    def may_have_unread_input(self) -> bool:
        http = self.http
        return http.answered and http.request.keep_alive and not (self.lost or http.ended or self.phase is not OVER)

    def half_close(self) -> bool:
        http = self.http
        if self.lost or http.ended or (self._fault is None and http.body_complete and not http.pending):
            return False
        self._fault = None
        self.http.ended = self.ended = True
        self._enter(LINGER)
        return True

    def _discard(self, data: bytes) -> Want:
        self._discarded += len(data)
        if not data or self._discarded > LINGER_BYTES:
            return self._enter(OVER)
        return READ

    # From one request to the next

    def _next_request(self) -> Want:
        http = self.http
        if not http.pending:
            return self._await_request()
        try:
            request = http.next_request()
        except ProtocolError as fault:
            self.request = http.request
            return self.refuse(fault)
        if request is None:
            return self._await_request()
        self.request = request
        if not self._admit(request):
            return self.phase.want
        if request.has_body and self._rules.spool:
            return self._fill_spool()
        return self._enter(TURN)

    def _read_proxy_header(self) -> Want:
        """From here on the client is the one that the proxy names."""
        try:
            header = decode(self.http.inbox)
        except ProtocolError as fault:
            return self.refuse(fault)
        if header is None:
            return self._enter(OVER) if self.http.ended else READ
        self.http.begin_after(header.length, header.secure)
        if header.endpoints:
            self.client, self.server = header.endpoints
        self._unnamed = not header.names_client
        self._enter(IDLE)
        return self._next_request()

    def _filter_untrusted(self, request: Request) -> bool:
        """Let the application see what is to be believed of the doubtful fields; if they make no sense, 400 is the
        answer."""
        if self._rules.filter_untrusted is not None:
            try:
                self.http.request = self.request = self._rules.filter_untrusted(request, self.peer)
            except ProtocolError as fault:
                self.refuse(fault)
                return False
        return True

    def _admit(self, request: Request) -> bool:
        """Whether the request that has begun may run: it makes sense, and there is room. If not, it is answered."""
        if request.untrusted_fields and not self._filter_untrusted(request):
            return False
        rules = self._rules
        if rules.observer:
            rules.observer.began(self)
        if rules.admission is None:
            return True
        self._admitted = rules.admission.enter()
        if not self._admitted:
            self._send_error(503, "too many requests are in flight", (b"Retry-After", b"%d" % RETRY_AFTER_S))
        return self._admitted

    def _release(self) -> None:
        assert self._rules.admission is not None
        self._rules.admission.leave()
        self._admitted = False

    def _await_request(self) -> Want:
        """For a phase that goes on, the time goes on too: a head may not be prolonged byte by byte."""
        if self.http.ended:
            return self._enter(OVER)
        phase = HEAD if self.http.pending or self.phase is HEAD else IDLE
        if self.phase is phase:
            return READ
        self.http.request = self.request = IDLE_REQUEST
        return self._enter(phase)

    def _fill_spool(self) -> Want:
        """Collect the body on behalf of an application that must not wait for it."""
        try:
            while part := self.http.read_body():
                if self.body is None:
                    if self.http.body_complete:  # as most do, it came in one piece
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
        except ClientGone as gone:  # it may still read (RFC 9112 section 8), as where the application reads the body
            return self.refuse(ProtocolError(400, str(gone)))
        except OSError as error:  # the disk is full
            self.drop_body()
            self._rules.lacking(f"cannot store the body of a request: {error.strerror}")
            return self.refuse(ProtocolError(500, "the body could not be stored"))
        if part is not None:
            return self._enter(TURN)
        return READ if self.phase is BODY else self.want_body()  # one phase: byte by byte it is not prolonged

    def _drain(self) -> Want:
        """Pass over what the application left of the body, then go on to the next request."""
        try:
            return self._next_request() if self.http.drain() else self._enter(DRAIN)
        except (ProtocolError, ClientGone):
            return self._enter(OVER)

    def refuse(self, fault: ProtocolError) -> Want:
        """Answer what cannot be served, and close; cut the connection where an answer has begun already."""
        self._fault = fault
        self.http.keep_alive = False
        self._rules.refused(f"a request of {self.peer or 'somebody'} is answered {fault.status}: {fault}")
        return self._send_error(fault.status, str(fault))

    def _send_error(self, status: int, text: str, *more: tuple[bytes, bytes]) -> Want:
        if self.http.status:
            return self.lose()
        fields = ((b"Content-Type", b"text/plain; charset=utf-8"), *more)
        head = response_head(status, reason_phrase(status).encode("ascii"), fields)
        return self.respond(head, text.encode() + b"\n", True)

    # What application interfaces ask and tell: `Exchange`

    @property
    def responding(self) -> bool:
        return self.http.status != 0

    @property
    def status(self) -> int:
        return self.http.status

    @property
    def sent(self) -> int:
        return self.http.sent

    def completed_by(self, part: Part) -> bool:
        return self.http.completed_by(part)

    def complain_of_excess(self, request: Request, given: int, promised: int) -> None:
        self.http.complain_of_excess(request, given, promised)

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

    def want_body(self) -> Want:
        """The application waits for more of the body; asks for it first if the client wants to be asked."""
        if self.output or self.file:
            return WRITE
        if self.http.wants_continue:
            self.http.continued = CONTINUE_PENDING
            self.output = CONTINUE
            return self._enter(ANSWER)
        return self._enter(BODY)

    def read(self) -> bytes:
        while (part := self.poll()) is None:
            self.want_body()
            assert self.delivery is not None, "a body that is read as it comes is read by an application that is called"
            self.delivery.await_body()
        return part

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

    @property
    def extended(self) -> bool:
        return self.request.version != "1.0"

    def _queue(self, data: bytes, body: Part) -> Want:
        """Send `data` after what waits already, and then `body` if that is a file."""
        if self.lost:
            return CLOSE
        if self.file is not None or self.later is not None or len(self.output) > JOINED_BYTES:
            self._enqueue(data, body)
            return WRITE
        self.output = bytes(self.output) + data if self.output else data
        if type(body) is not bytes and isinstance(body, FileRegion) and body.count:
            self.file = body
        elif not self.output:
            return self._flushed()
        self.phase = ANSWER
        self.since = None
        return WRITE

    def _enqueue(self, data: bytes, body: Part) -> None:
        """Put it behind what cannot go yet; pieces in memory are joined, for there may be very many small ones."""
        later = self.later
        if later is None:
            later = self.later = deque()
        last = later[-1] if later else None
        if isinstance(last, bytearray) and len(last) + len(data) <= JOINED_BYTES:
            last += data
        elif data:
            later.append(bytearray(data) if len(data) < JOINED_BYTES else data)
        if isinstance(body, FileRegion) and body.count:
            later.append(body)
        if not later:
            self.later = None

    @property
    def in_memory(self) -> int:
        """Bytes of output that wait for the client in memory."""
        return len(self.output) + sum(len(item) for item in self.later or () if not isinstance(item, FileRegion))

    def fail(self) -> Want:
        """The application raised, or ended without a whole answer: 500, or a cut connection once bytes are out."""
        try:
            return self.refuse(self._fault) if self._fault else self._send_error(500, "the application failed")
        except MemoryError:  # perhaps for the same want
            return self.lose()
