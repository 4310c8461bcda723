"""One client that speaks HTTP/1.1: a `ServerProtocol`, and the `Exchange` of its current request.

Requests follow each other on a connection, and an answer is complete before the next request is handled. So one object
is enough for both: the connection, for the process model that moves its bytes, and the exchange, for the application
that answers. This file has the connection: what the model calls, deadlines, the step from one request to the next, and
the end. `_exchange` has the request and its answer, `_output` the queue of what waits for the client.
"""

from typing import Any

from septet.exchange import ClientGone, Fields, FileRegion, ProtocolError, Request, Want
from septet.http.codec import Http1Codec
from septet.http.incoming import CONTINUE_PENDING, IDLE_REQUEST
from septet.protocol import READ, RUN
from septet.proxies.proxy_protocol import Header, decode
from septet.rules import DRAINING_S, STOPPING_S, Rules
from septet.session._exchange import Http1Exchange
from septet.session.phases import ANSWER, BODY, DRAIN, HEAD, IDLE, LINGER, LINGER_BYTES, OVER, PROXY_HEADER, TURN, Pace

RETRY_AFTER_S = 1
"""Seconds in the Retry-After of a 503 for too many requests in flight: most requests are done within a second."""


class Session(Http1Exchange):
    """One client connection, and its current request. Implements `protocol.ServerProtocol` and `exchange.Exchange`.

    `client`, `server`: see `exchange.Exchange`. Not thread-safe: only the thread that moves the connection's bytes may
    use it, or threads that share a lock.
    """

    __slots__ = ("_admitted", "_discarded", "_draining", "_pace", "ended", "exchange", "tunnel")

    tunnel: Any
    """Not set as long as the connection speaks HTTP/1.1. After `upgrade`: the state of the WebSocket
    (`session.websocket.State`). In a connection that has become HTTP/2: the HTTP/2 session to which this object passes
    all calls (see `session.prior_knowledge`).
    """

    def __init__(
        self, rules: Rules, client: tuple[str, int] | None, server: tuple[str, int | None], scheme: str = "http"
    ) -> None:
        self._rules = rules
        self.client = client
        self.server = server
        self.tls = None
        self.http = Http1Codec(rules.limits, rules.date_and_server, rules.complain, scheme)
        self.request = self.http.request
        self._peer_unnamed = False
        self.phase = PROXY_HEADER if rules.expects_proxy_header and rules.expects_proxy_header(self.peer) else IDLE
        self.since = None
        self.output = b""
        self.file = None
        self.later = None
        self.body = None
        self.collects = rules.spool is not None
        self.delivery = None
        self.exchange: Session = self
        """The exchange to be answered at RUN: the session itself. None when the connection is over, so that the session
        does not refer to itself and is freed at once."""
        self.lost = False
        self.ended = False
        self.observer_state = None
        self._fault = None
        self._pace: Pace | None = None
        """Computes the deadline in phases that the client's progress extends (`Phase.paced`), for this exchange. None
        until `deadline` is called in such a phase.
        """
        self._admitted = False
        """True if `rules.admission` counts the current request as in flight."""
        self._discarded = 0
        self._draining = False
        """True if the server has a successor, a newer process that serves new clients (`drain` was called), and need
        not stop at once (`stop` was not called).
        """

    # What the carrier reads and calls

    reads_files = False

    @property
    def rules(self) -> Rules:
        return self._rules

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
    def stops(self) -> bool:
        """True if this process stops, or has a successor, and so may cut the connection, and the client has not ended
        it.
        """
        return self.http.stopping and not self.http.ended

    @property
    def closes(self) -> bool:
        return self.http.stopping or not self.http.keep_alive

    @property
    def yields(self) -> bool:
        return self.request.upgrade is None

    def ends(self) -> bool:
        """Return True if the present output is the last, and the connection is closed when it has been sent."""
        http = self.http
        if http.keep_alive and not http.stopping:  # this is `closes`, which is asked of each answer over TLS
            return False
        return self.phase is ANSWER and http.answered and self.file is None and self.later is None

    def receive(self, data: bytes) -> Want:
        phase = self.phase
        if phase is LINGER:
            return self._discard(data)
        http = self.http
        if phase is IDLE:
            try:
                request = http.begin(data)
            except ProtocolError as fault:
                return self._refuse_head(fault)
            if request is not None:
                if request.has_body:
                    return self._go_on_with(request)
                self.request = request  # without a call, because most requests have no body
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
            return self._fill_spool() if self.collects else self._enter(TURN)
        if phase is DRAIN:
            return self._drain()
        if phase is PROXY_HEADER:
            return self._read_proxy_header()
        return phase.want

    def take_turn(self) -> "Session":
        raise AssertionError("HTTP/1.1 has one exchange, and never says TURN")

    def _flushed(self) -> Want:
        """Called when all output has been sent: enter the next phase, and return what the connection wants in it. If
        the answer is complete, that is the phase of the next request, or the end of the connection.
        """
        http = self.http
        if not http.answered:
            if http.continued is CONTINUE_PENDING:
                return self._continue_sent()
            self.phase = TURN
            self.since = None
            return RUN
        if self._rules.observer and http.status:
            self._rules.observer.ended(self)
        self._pace = None
        if self._admitted:
            self._release()
        if self.body is not None:
            self.drop_body()
        if not http.keep_alive or (http.stopping and not self._draining):
            return self._enter(OVER)
        if http.input_consumed():
            http.request = self.request = IDLE_REQUEST
            self.phase = IDLE
            self.since = None
            return READ
        return self._next_request() if http.body_complete else self._drain()

    # Deadlines

    def deadline(self, now: float) -> float | None:
        phase = self.phase
        if phase.timeout is None:
            return None
        timeout = phase.timeout(self._rules.timeouts)
        stops = self.http.stopping and not self._draining and self._waits_for_client
        if stops:
            timeout = min(timeout, STOPPING_S)
        elif phase.idle and self.http.stopping:
            timeout = min(timeout, DRAINING_S)
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
        """Bytes of content that the client has sent or taken in this exchange: the measure of its progress for
        `_pace`."""
        unsent = len(self.output) + (self.file.count if self.file else 0)
        for item in self.later or ():
            unsent += item.count if isinstance(item, FileRegion) else len(item)
        return self.http.moved - unsent

    def expire(self) -> Want:
        """Called when the deadline has passed: answer 408 (503 when the server stops), or close the connection. If the
        application waits for the body, it is told that the client is gone.
        """
        stops = self.http.stopping and not self._draining
        if stops and self.phase is HEAD:
            return self.lose()
        if stops and self._waits_for_client and self.phase is BODY:
            return self.refuse(ProtocolError(503, "the server stops, and the body has not come"))
        if not self.phase.answers:
            if self.phase is ANSWER:
                self._fault = ProtocolError(408, "the client did not take its answer in time")
            return self.lose() if self.phase is not IDLE else self._enter(OVER)
        late = ProtocolError(408, f"the {self.phase.name} of the request did not come in time")
        if self.phase is BODY and not self.collects:  # the application waits for the body, and is told
            self._fault = late
            self.http.keep_alive = False
            return self._enter(TURN)
        if self.phase is HEAD:
            self.http.begin_invalid()
            return self._refuse_head(late)
        return self.refuse(late)

    def stop(self) -> Want:
        """Take no further request: close now if no request is in flight, else after the answer.

        If a head has come in part, or a body that the session collects, the rest of it must come within STOPPING_S.
        """
        self.http.stopping = True
        self._draining = False
        if self.phase in (IDLE, DRAIN, PROXY_HEADER):
            return self._enter(OVER)
        if self._waits_for_client:
            self.since = None
        return self.phase.want

    def drain(self) -> Want:
        """Called when the server has a successor, a newer process that serves new clients: take no further request once
        an answer has told the client that the connection ends. That is the answer to the present request, or to the
        next one if the head of the present answer has been sent already. An idle connection ends after DRAINING_S.
        """
        self.http.stopping = self._draining = True
        if self.phase.idle:
            self.since = None
        return self.phase.want

    @property
    def _waits_for_client(self) -> bool:
        """True if the connection waits for the client to send something or to close, and no application was called for
        the present request.
        """
        phase = self.phase
        return phase is HEAD or phase is LINGER or (phase is BODY and self.collects)

    def upgrade(self, subprotocol: str | None, fields: Fields) -> Want:
        """Open a WebSocket: answer the request with status 101 and the header fields `fields`. `subprotocol`: the one
        that the application has chosen; None: none. From then on this object is a WebSocket's session; see
        `session.websocket`.
        """
        assert self._rules.websocket is not None, "applications are offered WebSockets where there are some"
        return self._rules.websocket.open(self, subprotocol, fields)

    def refused_websocket(self) -> None:
        """Called when the application answers a request for a WebSocket with an ordinary answer: count that."""
        if self._rules.traffic is not None:
            self._rules.traffic.websocket_refused()

    # From one request to the next

    def _next_request(self) -> Want:
        """Begin the next request if its head has come, and return what the connection wants next. A malformed head is
        answered with an error.
        """
        http = self.http
        if not http.pending:
            return self._await_request()
        try:
            request = http.next_request()
        except ProtocolError as fault:
            return self._refuse_head(fault)
        if request is None:
            return self._await_request()
        return self._go_on_with(request)

    def _refuse_head(self, fault: ProtocolError) -> Want:
        """Refuse bytes that are no valid head, or not all of one. The codec has put a request of its own in place."""
        self.request = self.http.request
        return self.refuse(fault)

    def _go_on_with(self, request: Request) -> Want:
        """Handle a request whose head has come: refuse it, collect its body, or have the application called. Returns
        what the connection wants next.
        """
        self.request = request
        if not self._admit(request):
            return self.phase.want
        if request.has_body:
            if self._rules.collects is not None:
                self.collects = self._rules.collects(request)
            if self.collects:
                return self._fill_spool()
        self.phase = TURN
        self.since = None
        return RUN

    def _await_request(self) -> Want:
        """Wait for the next request, or for the rest of its head, and return what the connection wants. If the
        connection waits for the rest of a head already, the deadline is not restarted, so a head cannot be kept alive
        byte by byte.
        """
        if self.http.ended:
            return self._enter(OVER)
        phase = HEAD if self.http.pending or self.phase is HEAD else IDLE
        if self.phase is phase:
            return READ
        self.http.request = self.request = IDLE_REQUEST
        return self._enter(phase)

    def _read_proxy_header(self) -> Want:
        """Decode the header of the PROXY protocol, if all of it has come, and use the `client` and `server` that it
        names. Returns what the connection wants next.
        """
        try:
            header = decode(self.http.inbox)
        except ProtocolError as fault:
            return self.refuse(fault)
        if header is None:
            return self._enter(OVER) if self.http.ended else READ
        self.http.skip_proxy_header(header.length, header.secure)
        self.introduce(header)
        return self._next_request()

    def introduce(self, header: Header) -> None:
        """Set the client's and the server's address, which a proxy has named. Called by `session.tls` if the PROXY
        header comes before TLS.
        """
        if header.endpoints:
            self.client, self.server = header.endpoints
        self._peer_unnamed = not header.names_client
        self._enter(IDLE)

    def _admit(self, request: Request) -> bool:
        """True if the application may be called for this request. If not, the session has queued an answer: 400 if its
        untrusted fields are malformed, 503 if too many requests are in flight."""
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

    def _filter_untrusted(self, request: Request) -> bool:
        """Replace the request by one that has only those untrusted fields that its peer may send. Returns False if they
        are malformed; then the session has answered 400."""
        if self._rules.filter_untrusted is not None:
            try:
                self.http.request = self.request = self._rules.filter_untrusted(request, self.peer)
            except ProtocolError as fault:
                self.refuse(fault)
                return False
        return True

    def _release(self) -> None:
        """Report to `rules.admission` that the request is no longer in flight."""
        assert self._rules.admission is not None
        self._rules.admission.leave()
        self._admitted = False

    def _drain(self) -> Want:
        """Discard what the application left of the body, then go on to the next request. Closes the connection if the
        body is too long or malformed."""
        try:
            if not self.http.drain():
                return self._enter(DRAIN)
            self._pace = None  # the next request has a time of its own
            return self._next_request()
        except (ProtocolError, ClientGone):
            return self._enter(OVER)

    # The end

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
        """Drop what the client still sends in the phase LINGER, up to LINGER_BYTES. Returns what the connection wants
        next.
        """
        self._discarded += len(data)
        if not data or self._discarded > LINGER_BYTES:
            return self._enter(OVER)
        return READ

    def close(self) -> None:
        if self._rules.observer:
            self._rules.observer.closed(self)
        self.delivery = None
        self.exchange = None  # type: ignore[assignment]
        if self._admitted:
            self._release()
        self.drop_body()
