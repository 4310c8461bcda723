"""One client that speaks HTTP/2 (RFC 9113): a `ServerProtocol` with several exchanges.

Who owns what:

    http2.connection    frames, windows, the states of streams (over the library `h2`)
    Http2Exchange       one stream: the request, its body as it comes, the answer as it is queued (`_http2_exchange`)
    Http2Session        the connection (this file): whose turn it is, whose output goes next, deadlines, floods, the end

Whose turn. A request that is complete enough joins the turns, by urgency (RFC 9218) and then in order. A carrier that
can run several exchanges at the same time (a loop, whose applications are tasks or threads; `rules.concurrent`) is told
TURN and takes one after the other by `take_turn`: an exchange that it does not know is begun, one that it knows has
news (content, room for more, the client gone). Any other carrier is told RUN for one exchange, as with HTTP/1.1, and
for the next when the application has given the answer: its `exchange` stays the same in between, and READ and EITHER
are about that exchange as well: they end with RUN when it can go on.

Whose output. Frames of content are made only when the output is empty, SEND_BYTES at a time, by urgency and then in
turn; so no stream waits behind another one's megabytes, and nothing is copied that the client may cancel. A stream
without room in its window stands aside (`_stalled`) until a WINDOW_UPDATE for it comes. A piece of a file is read by
the carrier, as under TLS (`reads_files`).

What waits, and its bounds:

    bodies that nobody reads    the stream's window (64 KiB), and no more than STREAMS streams
    answers not taken           the application is held back (`blocked`), stream by stream
    frames of control           Allowance: a client that asks for much and does nothing of use is told so, and ends
    resets                      the same; and a stream that was reset counts among STREAMS until its application ends

What ends a stream leaves the others alone; only what breaks the connection's state (HPACK, frames, the library's
judgement) ends all. GOAWAY on `stop` names the last stream that is answered, so that a client knows what to send
again. `drain` says first that the end is near (RFC 9113 section 6.8), with a PING; when its answer shows that the
client knows, or after DRAINING_S, the last GOAWAY follows.
"""

from collections.abc import Callable
from typing import Any

from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    UnknownFrameReceived,
    WindowUpdated,
)

from septet.exchange import Delivery, FileRegion, ProtocolError, Request, TlsInfo, Want
from septet.http2.budget import Allowance, FloodError
from septet.http2.connection import (
    CALM,
    LAST_STREAM,
    PROTOCOL,
    REFUSED,
    STREAMS,
    BrokenError,
    Http2Connection,
)
from septet.http2.priority import PRIORITY_UPDATE, ByUrgency, read_update, urgency_of
from septet.http2.requests import VERSION, Malformed, check_trailers, request_of
from septet.protocol import EITHER, READ, RUN, TURN, Phase
from septet.rules import DRAINING_S, STOPPING_S, Rules
from septet.session._http2_exchange import Http2Exchange
from septet.session.http1 import Session
from septet.session.observed import ObservedSession
from septet.session.phases import LINGER, LINGER_BYTES, OVER, Pace

PREFACE = Phase("http2-preface", READ, lambda timeouts: timeouts.header, idle=True)
"""The client's first bytes have not all come."""
IDLE = Phase("http2-idle", READ, lambda timeouts: timeouts.keep_alive, idle=True)
"""No stream is open."""
HEAD = Phase("http2-head", READ, lambda timeouts: timeouts.header, interruptible=True)
"""A header block has begun and has not ended."""
OPEN = Phase("http2-open", READ, lambda timeouts: timeouts.write, paced=True, interruptible=True)
"""Streams are open: applications run, or something of the client is awaited."""
DUE = Phase("http2-due", TURN, None)
"""An exchange has its turn, among others that run."""
RUNNING = Phase("http2-running", RUN, None)
"""The application runs for one exchange, and for no other."""
OUTPUT = Phase("http2-output", EITHER, lambda timeouts: timeouts.write, paced=True)
"""Output waits for the client."""

SEND_BYTES = 65536
"""Content for which frames are made at once."""

FRAME_BYTES = 16384
"""Content of one exchange, before it is another one's turn."""

OUTPUT_BYTES = 1 << 20
"""Output that may wait: beyond SEND_BYTES it is answers to frames of control, of a client that does not read."""

RESETS = 100
"""Streams that may be reset without one that is answered, beside those that make up for it; Go's server allows 4 for
each stream that may be open, hyper 20 before they are looked at."""

CONTROL_FRAMES = 1000
"""Frames without use that may come at once: PING, SETTINGS, WINDOW_UPDATE and others."""
EARNED_BY_REQUEST = 10
EARNED_BY_CONTENT = 4
"""A frame of content gives back so many: some clients open both windows for each one."""
EARNED_PER_S = 50

RETRY_AFTER_S = 1

SERVED_BEFORE_OTHERS = 1000
"""Requests after which a connection in a model of one client for each thread is ended if others wait; nginx ends it
after as many in any case (keepalive_requests)."""

_DRAIN_PING = b"septet.."
_INVALID = Request("GET", b"", b"", b"", VERSION, ())


def _unknown() -> None:
    """What `unread_ms` gives where the kernel is not asked."""


class Http2Session:
    """One client connection, and its streams. Implements `protocol.ServerProtocol`, and `_http2_exchange.Connection`
    for its exchanges. Not thread-safe: one carrier uses it at a time."""

    __slots__ = (
        "_asked_at",
        "_closing",
        "_concurrent",
        "_control",
        "_current",
        "_discarded",
        "_draining",
        "_exchanges",
        "_file_of",
        "_late",
        "_leaving",
        "_lingers",
        "_pace",
        "_refusing",
        "_resets",
        "_scheme",
        "_senders",
        "_sent",
        "_served",
        "_stalled",
        "_to_report",
        "_turns",
        "client",
        "codec",
        "delivery",
        "ended",
        "exchange",
        "file",
        "lost",
        "output",
        "peer",
        "phase",
        "rules",
        "server",
        "since",
        "stopping",
        "tls",
        "unread_ms",
    )

    reads_files = True
    may_have_unread_input = False
    unread = 0

    def __init__(
        self,
        rules: Rules,
        client: tuple[str, int] | None,
        server: tuple[str, int | None],
        peer: str,
        scheme: str,
        unread_ms: Callable[[], int | None],
    ) -> None:
        self.rules = rules
        self.client = client
        self.server = server
        self.peer = peer
        """As in `session.http1.Session`."""
        self.unread_ms = unread_ms
        """Milliseconds since the client's last bytes came; None if not known."""
        self.tls: TlsInfo | None = None
        self.delivery: Delivery | None = None
        self.codec = Http2Connection(rules.limits.header_block, rules.websocket is not None)
        self._scheme = scheme
        self._concurrent = rules.concurrent
        self.phase = PREFACE
        self.since: float | None = None
        self.output: bytes | memoryview = b""
        self.file: FileRegion | None = None
        self._file_of: Http2Exchange | None = None
        """The exchange whose content `file` is."""
        self.exchange: Any = None
        self._current: Http2Exchange | None = None
        """The exchange that runs alone, where several cannot; None if there is none."""
        self._exchanges: dict[int, Http2Exchange] = {}
        """Those whose stream or application has not ended, by their stream."""
        self._turns: ByUrgency[Http2Exchange] = ByUrgency()
        self._senders: ByUrgency[Http2Exchange] = ByUrgency()
        self._stalled: dict[int, Http2Exchange] = {}
        """Exchanges with content for which a window, their own or the connection's, has no room."""
        self._to_report: list[Http2Exchange] = []
        """Exchanges whose answer ends in the output."""
        self._served = 0
        """Requests that were answered."""
        self.lost = self.ended = self.stopping = False
        self._draining = False
        """The client was told that the end is near, and may still open streams."""
        self._refusing = False
        """The last GOAWAY was sent: new streams are refused."""
        self._leaving = False
        """The client opens no more streams."""
        self._closing = False
        """The connection ends when the output has gone."""
        self._lingers = False
        """Our side is shut down first, and what the client still sends is discarded: closing at once could destroy
        what it was sent last."""
        self._discarded = 0
        self._control = Allowance(CONTROL_FRAMES, "frames without use")
        self._resets = Allowance(RESETS, "streams that were reset")
        self._pace: Pace | None = None
        self._sent = 0
        """Bytes of output that have gone."""
        self._asked_at: float | None = None
        """When `deadline` was called last."""
        self._late: Http2Exchange | None = None
        """The exchange to which the deadline belongs; None: it is the connection's."""

    @classmethod
    def instead_of(cls, session: Session) -> "Http2Session":
        """Return what takes the place of a session of HTTP/1.1 that has had no request (`rules.Rules.http2`)."""
        unread_ms = session.unread_ms if isinstance(session, ObservedSession) else _unknown
        own = cls(session.rules, session.client, session.server, session.peer, session.http.scheme, unread_ms)
        own.delivery = session.delivery
        return own

    # What the carrier reads

    @property
    def gone(self) -> bool:
        return self.lost or self.ended

    @property
    def closes(self) -> bool:
        return self._refusing and len(self._exchanges) <= 1

    @property
    def yields(self) -> bool:
        """Clients of HTTP/1.1 connect anew after each answer, if they must; some of HTTP/2 take that for a failure."""
        return self._served >= SERVED_BEFORE_OTHERS

    @property
    def ends(self) -> bool:
        return self._closing and not (self._senders or self.file)

    # What comes in

    def receive(self, data: bytes) -> Want:
        if self.phase is LINGER:
            self._discarded += len(data)
            return self._enter(OVER) if not data or self._discarded > LINGER_BYTES else READ
        if not data:
            return self._end_input()
        try:
            for event in self.codec.receive(data):
                handle = _HANDLERS.get(type(event))
                if handle is not None:
                    handle(self, event)
                else:
                    self._control.spend()
        except BrokenError as error:
            self.rules.refused(f"the HTTP/2 connection of {self.peer or 'an unknown client'} is broken: {error}")
            self._break_off()
        except FloodError as error:
            self.rules.refused(f"the HTTP/2 connection of {self.peer or 'an unknown client'} is ended: {error}")
            self.codec.over = True
            self.codec.go_away(self.codec.highest_stream, CALM, str(error).encode())
            self._break_off()
        return self.go_on()

    def _end_input(self) -> Want:
        """The client sends no more: requests that are complete are answered, as far as the windows permit."""
        self.ended = self._leaving = True
        for exchange in list(self._exchanges.values()):
            if not exchange.input_ended and not exchange.begun:
                exchange.was_reset()
            elif exchange.begun and not exchange.answered:
                exchange.connection_ended()
        return self.go_on()

    def _break_off(self) -> None:
        """End the connection once what was said about it has gone."""
        self._closing = self._lingers = True
        for exchange in list(self._exchanges.values()):
            exchange.was_reset()

    def _request(self, event: RequestReceived) -> None:
        stream, ended = event.stream_id, event.stream_ended is not None
        assert stream is not None, "the library names it"
        self._control.earn(EARNED_BY_REQUEST)
        if self._refusing or len(self._exchanges) >= STREAMS:
            self._resets.spend()
            self.codec.reset(stream, REFUSED)
            return
        rules = self.rules
        try:
            fields: Any = tuple(event.headers or ())
            request = request_of(fields, ended, self._scheme, rules.limits, rules.websocket is not None)
        except Malformed as error:
            rules.refused(f"a request from {self.peer or 'an unknown client'} is malformed: {error}")
            self._resets.spend()
            self.codec.reset(stream, PROTOCOL)
            return
        except ProtocolError as fault:
            self._resets.spend()
            self._open(stream, _INVALID, ended).refuse(fault)
            return
        self._admit(self._open(stream, request, ended))

    def _open(self, stream: int, request: Request, ended: bool) -> Http2Exchange:
        exchange = self._exchanges[stream] = Http2Exchange(self, stream, request, ended)
        return exchange

    def _admit(self, exchange: Http2Exchange) -> None:
        """Have the application called for a request, when its turn comes; or answer it 400 or 503."""
        rules, request = self.rules, exchange.request
        if rules.identify is not None:
            request, exchange.request_id = rules.identify(request, self.peer)
            exchange.request = request
        if request.untrusted_fields and rules.filter_untrusted is not None:
            try:
                exchange.request = request = rules.filter_untrusted(request, self.peer)
            except ProtocolError as fault:
                exchange.refuse(fault)
                return
        if rules.observer:
            rules.observer.began(exchange)
        if rules.admission is not None:
            exchange.admitted = rules.admission.enter()
            if not exchange.admitted:
                exchange.send_error(503, "too many requests are in flight", (b"Retry-After", b"%d" % RETRY_AFTER_S))
                return
        for name, value in request.fields:
            if name == b"priority":
                exchange.urgency = urgency_of(value)
        if exchange.collects:
            exchange.collect()
        else:
            self.has_turn(exchange)

    def _data(self, event: DataReceived) -> None:
        stream, count, data = event.stream_id or 0, event.flow_controlled_length or 0, event.data
        assert data is not None, "the library has it"
        self.codec.took(count)
        if data:
            self._control.earn(EARNED_BY_CONTENT)
        elif event.stream_ended is None:
            self._control.spend()
        exchange = self._exchanges.get(stream)
        if exchange is None or exchange.over:
            return
        if count > len(data):  # padding
            self.codec.used(stream, count - len(data))
        if data:
            exchange.took(data)

    def _stream_ended(self, event: StreamEnded) -> None:
        exchange = self._exchanges.get(event.stream_id or 0)
        if exchange is not None and not exchange.input_ended:
            exchange.ends_input()

    def _trailers(self, event: TrailersReceived) -> None:
        exchange = self._exchanges.get(event.stream_id or 0)
        try:
            check_trailers(tuple((bytes(name), bytes(value)) for name, value in event.headers or ()))
        except Malformed:
            self._resets.spend()
            if exchange is not None:
                exchange.reset(PROTOCOL)

    def _stream_reset(self, event: StreamReset) -> None:
        self._resets.spend()
        exchange = self._exchanges.get(event.stream_id or 0)
        if exchange is not None:
            exchange.was_reset()

    def _window_updated(self, event: WindowUpdated) -> None:
        self._control.spend()
        if not event.stream_id:
            self._try_again()
        elif (exchange := self._stalled.pop(event.stream_id, None)) is not None:
            self._senders.add(exchange.urgency, exchange)

    def _settings_changed(self, event: RemoteSettingsChanged) -> None:
        self._control.spend()
        self._try_again()

    def _try_again(self) -> None:
        """Any window may have room now."""
        for exchange in self._stalled.values():
            self._senders.add(exchange.urgency, exchange)
        self._stalled.clear()

    def _unknown_frame(self, event: UnknownFrameReceived) -> None:
        self._control.spend()
        frame: Any = event.frame
        if getattr(frame, "type", None) == PRIORITY_UPDATE:
            stream, urgency = read_update(frame.body)
            if (exchange := self._exchanges.get(stream)) is not None:
                exchange.urgency = urgency  # from the next time that it is queued

    def _ping_answered(self, event: PingAckReceived) -> None:
        self._control.spend()
        if self._draining and event.ping_data == _DRAIN_PING:
            self._refuse_from_now_on()

    def _client_leaves(self, event: ConnectionTerminated) -> None:
        self._control.spend()
        self._leaving = True

    # What exchanges say

    def has_turn(self, exchange: Http2Exchange) -> None:
        if exchange.turn_due or (exchange.begun and not self._concurrent):
            return
        exchange.turn_due = True
        self._turns.add(exchange.urgency, exchange)

    def has_output(self, exchange: Http2Exchange) -> None:
        if not exchange.queued:
            exchange.queued = True
            self._senders.add(exchange.urgency, exchange)

    def finished(self, exchange: Http2Exchange) -> None:
        self._exchanges.pop(exchange.stream, None)
        self.codec.forget(exchange.stream)
        self._stalled.pop(exchange.stream, None)
        if exchange.admitted:
            exchange.admitted = False
            assert self.rules.admission is not None
            self.rules.admission.leave()
        exchange.drop_body()
        if exchange.lost or not exchange.status:
            self._abort(exchange)
        else:
            self._resets.earn(1)
            self._served += 1
            self._to_report.append(exchange)

    def _abort(self, exchange: Http2Exchange) -> None:
        if self.rules.observer:
            self.rules.observer.closed(exchange)

    # What the carrier has to do next

    def go_on(self) -> Want:
        current = self._current
        if current is not None and current.answered:
            self._current = current = None
        if self.lost:
            return self._enter(OVER)
        if self._concurrent and not self._closing and len(self.output) < SEND_BYTES and self._has_turn():
            return self._enter(DUE)
        if self._has_output():
            return self._enter(OUTPUT)
        return self._enter(self._waiting(current))

    def _waiting(self, current: Http2Exchange | None) -> Phase:
        """The phase when there is nothing to send."""
        if self._closing:
            return OVER
        if current is None and not self._concurrent and self._has_turn():
            current = self._current = self.exchange = self._next_turn()
        if current is not None:
            return OPEN if current.waits else RUNNING
        if self.codec.expects_preface:
            return PREFACE
        if self._exchanges:
            if self.ended and all(each.answered for each in self._exchanges.values()):  # no window opens any more
                return OVER
            return OPEN
        if self._refusing or self._leaving:
            return OVER
        return HEAD if self.codec.in_head else IDLE

    def _has_turn(self) -> bool:
        """True if an exchange is due. Those that were answered or cancelled meanwhile are forgotten."""
        turns = self._turns
        while len(turns):
            first = turns.first
            if not first.answered and (first.begun or not first.over):
                return True
            turns.pop().turn_due = False
        return False

    def take_turn(self) -> Http2Exchange:
        exchange = self._next_turn()
        self.go_on()
        return exchange

    def _next_turn(self) -> Http2Exchange:
        exchange = self._turns.pop()
        exchange.turn_due = False
        if not exchange.begun:
            exchange.begun = True
            exchange.delivery = self.delivery
        return exchange

    def _enter(self, phase: Phase) -> Want:
        if phase is not self.phase:
            self.phase = phase
            self.since = None
            self._pace = None
        return phase.want

    # Output

    def _has_output(self) -> bool:
        if not self.output and self.file is None:
            self._make_frames()
            self.output = self.codec.take_output()
        elif len(self.output) < OUTPUT_BYTES:
            more = self.codec.take_output()
            if more:
                self.output = bytes(self.output) + more
        else:
            self.lose()
            return False
        return bool(self.output) or self.file is not None

    def _make_frames(self) -> None:
        """Make frames of what exchanges have queued, SEND_BYTES at most; or have the carrier read a piece of a file."""
        senders, codec, made = self._senders, self.codec, 0
        while len(senders) and made < SEND_BYTES:
            exchange = senders.pop()
            queue = exchange.later
            if exchange.over or (queue is None and not exchange.sends_end):
                exchange.queued = False
                continue
            room = codec.window(exchange.stream) if queue is not None else 1
            if room <= 0:
                self._stalled[exchange.stream] = exchange
                continue
            if queue is not None and isinstance(queue[0], FileRegion):
                self._offer(exchange, queue[0], min(room, SEND_BYTES))
                return
            made += exchange.send_some(min(room, FRAME_BYTES))
            self._queue_again(exchange)

    def _queue_again(self, exchange: Http2Exchange) -> None:
        self._control.earn(EARNED_BY_CONTENT)
        if exchange.over or (exchange.later is None and not exchange.sends_end):
            exchange.queued = False
        else:
            self._senders.add(exchange.urgency, exchange)

    def _offer(self, exchange: Http2Exchange, region: FileRegion, room: int) -> None:
        """Have the carrier read a piece of an exchange's file."""
        count = min(room, region.count)
        self.file = FileRegion(region.descriptor, region.offset, count, region.version, region.owner)
        self._file_of = exchange

    def read_file(self, data: bytes) -> Want:
        exchange, self._file_of, self.file = self._file_of, None, None
        assert exchange is not None, "a file was offered"
        if exchange.over:
            exchange.queued = False
        elif not data:
            exchange.cut_short()
            exchange.queued = False
        else:
            exchange.send_of_file(data)
            self._queue_again(exchange)
        return self.go_on()

    def wrote(self, count: int) -> Want:
        self._sent += count
        output = self.output
        if count < len(output):
            self.output = memoryview(output)[count:]
            return self.phase.want
        self.output = b""
        if self._to_report:
            self._report()
        return self.go_on()

    def _report(self) -> None:
        observer = self.rules.observer
        if observer:
            for exchange in self._to_report:
                observer.ended(exchange)
        self._to_report.clear()

    # Deadlines

    def deadline(self, now: float) -> float | None:
        if self._asked_at is not None:
            self._control.earn(int((now - self._asked_at) * EARNED_PER_S))
        self._asked_at = now
        phase, timeouts = self.phase, self.rules.timeouts
        self._late = None
        if self.since is None:
            self.since = now
        due = None
        if phase is OUTPUT:
            if self._pace is None:
                self._pace = Pace(timeouts.write, timeouts.rate)
            due = self._pace.deadline(now, self._sent)
            if self.stopping and not self._exchanges:
                due = min(due, self.since + STOPPING_S)
        elif phase is not OPEN and phase.timeout is not None:
            timeout = phase.timeout(timeouts)
            if self._draining:
                timeout = min(timeout, DRAINING_S)
            elif self.stopping:
                timeout = min(timeout, STOPPING_S)
            due = self.since + timeout
        if phase is OPEN or phase is OUTPUT:
            if self._draining and self.since + DRAINING_S <= now:
                self._refuse_from_now_on()
            for exchange in self._exchanges.values():
                at = exchange.deadline(now)
                if at is not None and (due is None or at < due):
                    due, self._late = at, exchange
        return due

    def waited(self, now: float) -> None:
        if self._pace is not None:
            self._pace.waited(now, self._sent)
        for exchange in self._exchanges.values():
            exchange.waited(now)

    def expire(self) -> Want:
        late, self._late = self._late, None
        if late is not None:
            self.rules.refused(f"a stream of {self.peer or 'an unknown client'} was too slow")
            late.expire()
            return self.go_on()
        if self.phase is IDLE:
            return self.stop()
        return self._enter(OVER) if self.phase is LINGER else self.lose()

    # The end

    def stop(self) -> Want:
        if self.phase is LINGER or self.lost:
            return self.phase.want
        self.stopping = True
        if self.codec.expects_preface:
            return self._enter(OVER)
        self._refuse_from_now_on()
        return self.go_on()

    def _refuse_from_now_on(self) -> None:
        """Say which stream is the last that is answered."""
        self._draining = False
        if not self._refusing:
            self._refusing = True
            self._lingers = bool(self._exchanges)
            self.codec.go_away(self.codec.highest_stream)
            for exchange in list(self._exchanges.values()):
                exchange.server_stops()

    def drain(self) -> Want:
        if self.phase is LINGER or self.lost:
            return self.phase.want
        self.stopping = True
        if not (self._refusing or self._draining):
            self._draining = True
            self.codec.go_away(LAST_STREAM)
            self.codec.ping(_DRAIN_PING)
            self.since = None
        return self.go_on()

    def lose(self) -> Want:
        self.lost = True
        self.output = b""
        self.file = self._file_of = None
        self.codec.over = True
        for exchange in list(self._exchanges.values()):
            exchange.was_reset()
        for exchange in self._to_report:
            self._abort(exchange)
        self._to_report.clear()
        return self._enter(OVER)

    def half_close(self) -> bool:
        if self.lost or self.ended or not self._lingers:
            return False
        self._lingers = False
        self.ended = True
        self._enter(LINGER)
        return True

    def refuse(self, fault: ProtocolError) -> Want:
        """For TLS: never called, because a client that speaks HTTP/2 speaks TLS already."""
        return self.lose()

    def introduce(self, header: Any) -> None:
        raise AssertionError("a PROXY header comes before HTTP/2")

    def close(self) -> None:
        self.lost = True
        for exchange in list(self._exchanges.values()):
            exchange.was_reset()
            self._abort(exchange)
            if exchange.admitted:
                exchange.admitted = False
                assert self.rules.admission is not None
                self.rules.admission.leave()
        for exchange in self._to_report:
            self._abort(exchange)
        self._to_report.clear()
        self._turns.clear()
        self._senders.clear()
        self.delivery = None
        self.exchange = self._current = None


_HANDLERS: dict[type[Event], Callable[[Http2Session, Any], None]] = {
    RequestReceived: Http2Session._request,
    DataReceived: Http2Session._data,
    StreamEnded: Http2Session._stream_ended,
    TrailersReceived: Http2Session._trailers,
    StreamReset: Http2Session._stream_reset,
    WindowUpdated: Http2Session._window_updated,
    RemoteSettingsChanged: Http2Session._settings_changed,
    UnknownFrameReceived: Http2Session._unknown_frame,
    PingAckReceived: Http2Session._ping_answered,
    ConnectionTerminated: Http2Session._client_leaves,
}
"""What is done for each event of the library; all others cost the client one of its allowance."""
