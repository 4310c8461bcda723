"""One stream of HTTP/2: a request and its answer, as `exchange.Exchange` and `protocol.ServerExchange`.

The session (`session.http2`) feeds it what comes on its stream, and takes from its queue (`later`) what the client's
windows permit. The exchange decides what the answer's frames are; the session decides when they are made.

An exchange may outlive its stream: when the client resets the stream, the application is told (`lost`), and the
exchange counts among those of the connection until the application has ended, too.
"""

from collections import deque
from collections.abc import Callable
from io import BytesIO
from typing import Any, Protocol

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
    octets,
)
from septet.http.head import interim_fields, reason_phrase, response_head, with_fields
from septet.http2.answers import Content, lowered, server_fields
from septet.http2.connection import CANCEL, INTERNAL, NO_ERROR, Http2Connection
from septet.http2.priority import USUAL
from septet.protocol import Phase
from septet.rules import STOPPING_S, Rules
from septet.session.phases import FILE_CHANGED, Pace

JOINED_BYTES = 65536
"""Small parts of an answer are joined into pieces of about this size while they wait."""


class Connection(Protocol):
    """What an exchange asks of its session."""

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
    def ended(self) -> bool: ...

    def go_on(self) -> Want:
        """Find the session's phase after an exchange has changed, and return its want."""

    def has_output(self, exchange: "Http2Exchange") -> None:
        """The exchange has queued something for the client."""

    def has_turn(self, exchange: "Http2Exchange") -> None:
        """The application is to be begun for the exchange, or told that something has changed."""

    def finished(self, exchange: "Http2Exchange") -> None:
        """The exchange's stream has ended, and so has its application."""

    def lose(self) -> Want: ...


class Http2Exchange:
    """A request and its answer. `ended`: the request has no body, or all of it has come."""

    __slots__ = (
        "_content",
        "_continued",
        "_end_queued",
        "_fault",
        "_head_sent",
        "_pace",
        "_pieces",
        "_received",
        "_session",
        "_trailers",
        "admitted",
        "answered",
        "answered_ns",
        "begun",
        "body",
        "called_ns",
        "client",
        "collects",
        "delivery",
        "due_at",
        "input_ended",
        "later",
        "lost",
        "observer_state",
        "over",
        "queued",
        "request",
        "request_id",
        "response_head",
        "server",
        "status",
        "stream",
        "tls",
        "tunnel",
        "turn_due",
        "urgency",
        "waits_for_body",
    )

    tunnel: Any
    """Set by `upgrade` alone; see `session._http2_websocket`."""

    file: FileRegion | None = None
    extended = True

    def __init__(self, session: Connection, stream: int, request: Request, ended: bool) -> None:
        self._session = session
        self.stream = stream
        self.request = request
        self.client = session.client
        self.server = session.server
        self.tls = session.tls
        self.urgency = USUAL
        self.body: Any = None
        self.delivery: Delivery | None = None
        self.observer_state: Any = None
        self.later: deque[bytes | bytearray | FileRegion] | None = None
        """Content that waits for the windows, in order; None if there is none."""
        self.status = 0
        self.answered = False
        self.begun = False
        """The application was called, or is about to be: the carrier has taken the exchange."""
        self.over = False
        """The stream has ended, for both sides."""
        self.lost = False
        self.admitted = False
        """`rules.admission` counts this request."""
        self.turn_due = False
        """It is among the turns of the session."""
        self.input_ended = ended
        self.collects = session.rules.spool is not None and not ended
        """The body is collected before the application is called."""
        self.waits_for_body = False
        """The application waits for more of the body."""
        self.queued = False
        """It is among those for which the session makes frames."""
        self.due_at: float | None = None
        """The deadline that `deadline` has returned last."""
        self.called_ns = self.answered_ns = 0
        self.request_id: str | None = None
        self.response_head: ResponseHead | None = None
        self._content = Content(request, session.rules.complain)
        self._pieces: list[bytes] = []
        self._received = 0
        """Bytes of the body so far."""
        self._continued = False
        self._fault: ProtocolError | None = None
        self._end_queued = False
        """The stream ends when the queue is empty."""
        self._trailers: Fields = ()
        self._pace: Pace | None = None

    # State

    @property
    def unread_ms(self) -> Callable[[], int | None]:
        return self._session.unread_ms

    @property
    def phase(self) -> Phase:
        """The phase of the connection, for the watch of `--request-timeout`."""
        return self._session.phase

    @property
    def responding(self) -> bool:
        return self.status != 0

    @property
    def sent(self) -> int:
        return self._content.sent

    @property
    def content_ended(self) -> bool:
        return self._content.ended

    @property
    def content_complete(self) -> bool:
        return self._content.remaining == 0

    @property
    def body_complete(self) -> bool:
        return self.input_ended and not self._pieces

    @property
    def blocked(self) -> bool:
        return self.later is not None and not self.lost

    @property
    def waits(self) -> bool:
        return not self.lost and (self.waits_for_body or self.later is not None)

    @property
    def gone(self) -> bool:
        return self.lost or self._fault is not None or self._session.ended

    @property
    def half_closed(self) -> bool:
        return self._session.ended and not self.lost and self._fault is None and self.body_complete

    @property
    def in_memory(self) -> int:
        return sum(len(item) for item in self.later or () if not isinstance(item, FileRegion))

    def completed_by(self, part: Part) -> bool:
        content = self._content
        return type(part) is bytes and len(part) == content.remaining and not content.forbidden

    def complain_of_excess(self, request: Request, given: int, promised: int) -> None:
        self._content.complain_of_excess(request, given, promised)

    # The request's body

    def took(self, data: bytes) -> None:
        """Take content that has come. For the session."""
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
        """Nothing more of the request will come: the body is complete. For the session."""
        self.input_ended = True
        if self.collects:
            self._collect()
        elif self.waits_for_body:
            self._wake()

    def connection_ended(self) -> None:
        """The client sends no more on any stream. For the session."""
        self._wake()

    def _wake(self) -> None:
        self.waits_for_body = False
        self._pace = None
        self._session.has_turn(self)

    def _break(self, fault: ProtocolError) -> None:
        """The client has broken a rule in the middle of the body, or is late with it."""
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
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._session.codec.used(self.stream, len(data))
            return data
        if self.input_ended:
            return b""
        if self.lost or self._session.ended:
            raise ClientGone("the client went away in the middle of its request's body")
        return None

    def want_body(self) -> Want:
        if not (self.lost or self._pieces or self.input_ended):
            self.waits_for_body = True
            self._pace = None
            self._continue()
        return self._session.go_on()

    def _continue(self) -> None:
        """Send 100 Continue if the client expects it, and nothing of the body has come."""
        if self.request.expects_continue and not (self._continued or self._received or self.status):
            self._continued = True
            self._session.codec.send_head(self.stream, ((b":status", b"100"),), False)

    def read(self) -> bytes:
        while (part := self.poll()) is None:
            self.want_body()
            assert self.delivery is not None, "a body that is read as it comes is read by an application that is called"
            self.delivery.await_body()
        return part

    def collect(self) -> None:
        """Begin to collect the body, for models in which the application must not wait for it."""
        self._continue()
        self._collect()

    def _collect(self) -> None:
        """Store what has come of the body; when it is complete, the application has its turn."""
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
            except OSError:
                pass

    # The answer

    def respond(self, head: ResponseHead, body: Part, last: bool) -> Want:
        rules, content = self._session.rules, self._content
        if type(body) is not bytes and not isinstance(body, FileRegion):
            body = octets(body)
        if rules.more_fields is not None:
            head = with_fields(head, rules.more_fields(self))
        self.response_head = head
        if self.lost:
            return self._end(last)
        content.begin(head)
        length: Fields = ()
        if (
            head.content_length is None
            and last
            and isinstance(body, bytes)
            and (not content.forbidden or (body and head.status != 204))
        ):
            length = ((b"content-length", b"%d" % len(body)),)
        elif isinstance(body, FileRegion) and last and head.content_length is None and not content.forbidden:
            raise ValueError("a file that is all of an answer is sent with a Content-Length")
        part = content.allowed(body)
        ours = server_fields(rules.date_and_server(not head.has_date, not head.has_server))
        fields = ((b":status", b"%d" % head.status), *lowered(head.fields), *length, *ours)
        has_content = bool(part.count if isinstance(part, FileRegion) else part)
        ends = last and not has_content and not content.lacking
        self._session.codec.send_head(self.stream, fields, ends)
        self.status = head.status  # only now: an answer that raised above has not begun
        if ends:
            self._output_ended()
            return self._end(True)
        return self._queue(part, last)

    def push(self, body: Part, last: bool) -> Want:
        if type(body) is not bytes and not isinstance(body, FileRegion):
            body = octets(body)
        if self.lost:
            return self._end(last)
        return self._queue(self._content.allowed(body), last)

    def finish(self, trailers: Fields) -> Want:
        if self.lost:
            return self._end(True)
        self._trailers = () if self._content.forbidden else lowered(trailers)
        return self._queue(b"", True)

    def _queue(self, part: Part, last: bool) -> Want:
        """Queue a part of the content, and have the session send what it can."""
        queue = self.later
        if isinstance(part, FileRegion):
            if part.count:
                queue = self._begun_queue()
                queue.append(part)
        elif part:
            queue = self._begun_queue()
            tail = queue[-1] if queue else None
            if isinstance(tail, bytearray) and len(tail) + len(part) <= JOINED_BYTES:
                tail += part
            else:
                queue.append(bytearray(part) if queue and len(part) < JOINED_BYTES else part)
        if last:
            if self._content.lacking:
                self._content.complain_of_lack()
                self.reset(INTERNAL)
                return self._end(True)
            self._end_queued = True
        self._session.has_output(self)
        return self._end(last)

    def _begun_queue(self) -> "deque[bytes | bytearray | FileRegion]":
        if self.later is None:
            self.later = deque()
            self._pace = None
        return self.later

    def _end(self, last: bool) -> Want:
        """Note whether the application has given its whole answer."""
        if last and not self.answered:
            self.answered = True
            self.answered_ns = self._session.rules.clock()
            self.waits_for_body = False
            if self.over or self.lost:
                self._session.finished(self)
        return self._session.go_on()

    def inform(self, status: int, fields: Fields) -> Want:
        kept = lowered(interim_fields(fields))
        if not (self.lost or self.status):
            self._session.codec.send_head(self.stream, ((b":status", b"%d" % status), *kept), False)
        return self._session.go_on()

    def refused_websocket(self) -> None:
        traffic = self._session.rules.traffic
        if traffic is not None:
            traffic.websocket_refused()

    def upgrade(self, subprotocol: str | None, fields: Fields) -> Want:
        """Accept a WebSocket. This object is one from then on: see `session._http2_websocket`."""
        opener = self._session.rules.websocket
        assert opener is not None, "applications are offered WebSockets where there are some"
        return opener.open_on_stream(self, subprotocol, fields)

    def server_stops(self) -> None:
        """The server takes no more requests. A WebSocket ends; other exchanges are answered."""

    def fail(self) -> Want:
        try:
            if self._fault is not None:
                return self.refuse(self._fault)
            return self._send_error(500, "the application failed")
        except MemoryError:
            return self._session.lose()

    def time_out(self) -> None:
        self._fault = ProtocolError(504, "the application took too long")

    def refuse(self, fault: ProtocolError) -> Want:
        """Answer with the status of `fault`; reset the stream if an answer has begun."""
        self._fault = fault
        session = self._session
        session.rules.refused(
            f"a request from {session.peer or 'an unknown client'} is answered {fault.status}: {fault}"
        )
        return self._send_error(fault.status, str(fault))

    def send_error(self, status: int, text: str, *more: tuple[bytes, bytes]) -> Want:
        return self._send_error(status, text, *more)

    def _send_error(self, status: int, text: str, *more: tuple[bytes, bytes]) -> Want:
        if self.status or self.lost:
            self.reset(INTERNAL)
            return self._end(True)
        fields = ((b"Content-Type", b"text/plain; charset=utf-8"), *more)
        head = response_head(status, reason_phrase(status).encode("ascii"), fields)
        return self.respond(head, text.encode() + b"\n", True)

    # What the session sends

    @property
    def sends_end(self) -> bool:
        """There is no content to be sent any more, but the end of the stream."""
        return self._end_queued and self.later is None

    def send_some(self, room: int) -> int:
        """Send at most `room` bytes from the head of the queue, which is not of a file, in one frame; with the end of
        the stream if it is the last. Returns the number of bytes."""
        codec, queue = self._session.codec, self.later
        if queue is None:
            self._send_end()
            return 0
        piece = queue[0]
        assert not isinstance(piece, FileRegion), "the session has files read by the carrier"
        if len(piece) <= room:
            queue.popleft()
            data: Any = bytes(piece)
        else:
            view: Any = memoryview(bytes(piece) if isinstance(piece, bytearray) else piece)
            data, queue[0] = view[:room], view[room:]
        self._sent_from(queue, codec, data)
        return len(data)

    def send_of_file(self, data: bytes) -> None:
        """Send bytes of the file at the head of the queue."""
        queue = self.later
        assert queue is not None, "there is a file"
        region = queue[0]
        assert isinstance(region, FileRegion), "there is a file"
        region.offset += len(data)
        region.count -= len(data)
        if not region.count:
            queue.popleft()
        self._sent_from(queue, self._session.codec, data)

    def _sent_from(
        self, queue: "deque[bytes | bytearray | FileRegion]", codec: Http2Connection, data: bytes | memoryview
    ) -> None:
        if not queue:
            self.later = self._pace = None
        last = self._end_queued and not queue and not self._trailers
        codec.send_content(self.stream, data, last)
        if last:
            self._output_ended()
        elif not queue:
            if self._end_queued:
                self._send_end()
            elif not self.answered:
                self._session.has_turn(self)

    def _send_end(self) -> None:
        """Send the end of the stream alone, or with trailers."""
        codec = self._session.codec
        if self._trailers:
            codec.send_head(self.stream, self._trailers, True)
        else:
            codec.send_content(self.stream, b"", True)
        self._output_ended()

    def _output_ended(self) -> None:
        """The whole answer is in the output. If the request has not ended, the client need not send the rest."""
        self._end_queued = False
        self.over = True
        if not self.input_ended:
            self._session.codec.reset(self.stream, NO_ERROR)
            self.input_ended = True
        self._pieces.clear()
        if self.answered:
            self._session.finished(self)

    # The end of the stream

    def was_reset(self) -> None:
        """The stream has ended before its time: by the client, or with its connection."""
        if self.over:
            return
        self.over = self.lost = True
        self.later = None
        self._end_queued = self.waits_for_body = self.collects = False
        self._pieces.clear()
        if self.answered or not self.begun:
            self._session.finished(self)
        else:
            self._session.has_turn(self)

    def reset(self, code: Any) -> None:
        """End the stream without the rest of its answer."""
        if not self.over:
            self._session.codec.reset(self.stream, code)
            self.was_reset()

    def cut_short(self) -> None:
        """The file at the head of the queue has changed since its answer began."""
        self._session.rules.complain(f"{FILE_CHANGED % self.request.target.decode('ascii')}; the stream is reset")
        self.reset(INTERNAL)

    def lose(self) -> Want:
        """For the watch of `--request-timeout`: the thread of the application cannot be ended, so its connection is."""
        return self._session.lose()

    # Deadlines

    @property
    def moved(self) -> int:
        """Bytes that the client has sent or taken."""
        queued = sum(item.count if isinstance(item, FileRegion) else len(item) for item in self.later or ())
        return self._received + self.sent - queued

    def deadline(self, now: float) -> float | None:
        """When the client's time is up; None if nothing is awaited of it on this stream."""
        session, self.due_at = self._session, None
        if self.over:
            return None
        timeouts = session.rules.timeouts
        if self.waits_for_body or self.collects:
            timeout = timeouts.body
            if self.collects and session.stopping:
                timeout = min(timeout, STOPPING_S)
        elif self.later is not None:
            timeout = timeouts.write
        else:
            return None
        if self._pace is None or self._pace.timeout != timeout:
            self._pace = Pace(timeout, timeouts.rate)
        self.due_at = self._pace.deadline(now, self.moved)
        return self.due_at

    def waited(self, now: float) -> None:
        if self._pace is not None:
            self._pace.waited(now, self.moved)

    def expire(self) -> None:
        """The client's time is up: it is answered 408, or its stream reset because it does not read."""
        if self.later is not None:
            self.reset(CANCEL)
        elif self.collects and self._session.stopping:
            self._break(ProtocolError(503, "the server stops, and the body has not come"))
        else:
            self._break(ProtocolError(408, "the body of the request did not come in time"))
