"""One stream of HTTP/2: a request and its answer, as `exchange.Exchange` and `protocol.ServerExchange`.

The session (`session.http2`) gives the exchange what comes on its stream, and takes from its queue (`later`) what the
client's flow-control windows permit. The exchange decides which frames its answer consists of; the session decides when
they are made.

An exchange may outlive its stream: when the client resets the stream, the application is told (`lost`), and the session
keeps the exchange until the application has ended.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from septet.exchange import Delivery, Fields, FileRegion, Part, ProtocolError, Request, ResponseHead, Want
from septet.http2.answers import Content
from septet.http2.connection import CANCEL, INTERNAL
from septet.http2.priority import USUAL
from septet.protocol import Phase
from septet.rules import STOPPING_S
from septet.session._http2_answer import Answering
from septet.session._http2_body import Connection
from septet.session.phases import FILE_CHANGED, Pace


class Http2Exchange(Answering):
    """One request of an HTTP/2 connection and its answer. `stream`: the stream's number. `ended`: True if the request
    has no body.
    """

    __slots__ = ()

    tunnel: Any
    """The state of the WebSocket (`session.websocket.State`), with its messages and frames. Set by `upgrade`, and not
    before.
    """

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
        """Content that waits for room in the client's flow-control windows, in order; None if there is none."""
        self.status = 0
        self.answered = False
        self.begun = False
        """True if the application was called, or is about to be because the model has taken the exchange."""
        self.over = False
        """True if the stream has ended: the answer is complete, or the stream was reset."""
        self.lost = False
        self.admitted = False
        """True if `rules.admission` counts this request as in flight."""
        self.turn_due = False
        """True if the exchange is in the session's queue of those whose application must be called or woken."""
        self.input_ended = ended
        collects = session.rules.collects
        self.collects = session.rules.spool is not None and not ended and (collects is None or collects(request))
        """True if the whole body is to be collected before the application is called."""
        self.waits_for_body = False
        """True if the application waits for more of the body."""
        self.queued = False
        """True if the exchange is among those that have content to send: in the session's queue of senders, or left out
        of it until the client's flow-control windows have room.
        """
        self.due_at: float | None = None
        """What `deadline` returned last: when the client's time is up, in seconds; None if there was no deadline."""
        self.called_ns = self.answered_ns = 0
        self.request_id: str | None = None
        self.response_head: ResponseHead | None = None
        self._content = Content(request, session.rules.complain)
        self._pieces: list[bytes] = []
        self._received = 0
        """Bytes of the body that have come so far."""
        self._continued = False
        self._fault: ProtocolError | None = None
        self._end_queued = False
        """True if the application has given its whole answer, so that the stream is to be ended when all content in
        `later` has been sent.
        """
        self._trailers: Fields = ()
        self._pace: Pace | None = None

    # State

    @property
    def unread_ms(self) -> Callable[[], int | None]:
        return self._session.unread_ms

    @property
    def phase(self) -> Phase:
        """The phase of the HTTP/2 connection to which the exchange belongs."""
        return self._session.phase

    @property
    def responding(self) -> bool:
        return self.status != 0

    @property
    def sent(self) -> int:
        return self._content.sent

    @property
    def fault(self) -> ProtocolError | None:
        """Why the server has ended this exchange, or is about to: as in `_exchange.Http1Exchange.fault`."""
        return self._fault

    @property
    def stops(self) -> bool:
        """True if the whole connection was lost while this process stops, and the client has not ended it."""
        session = self._session
        return session.lost and session.stopping and not session.ended

    @property
    def content_ended(self) -> bool:
        return self._content.ended

    @property
    def content_complete(self) -> bool:
        return self._content.remaining == 0

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

    # The end of the stream

    def was_reset(self) -> None:
        """Called when the stream has ended early, because either side has reset it or the connection has ended. Drops
        what was queued for the client; an application that runs is woken and finds that the client is lost.
        """
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
        """Send RST_STREAM with the error `code`, so that the stream ends without the rest of its answer."""
        if not self.over:
            self._session.codec.reset(self.stream, code)
            self.was_reset()

    def cut_short(self) -> None:
        """Called when the file that is being sent has changed since the answer began: reset the stream."""
        self._session.rules.complain(f"{FILE_CHANGED % self.request.target.decode('ascii')}; the stream is reset")
        self.reset(INTERNAL)

    def lose(self) -> Want:
        """Close the whole connection at once, with all its streams. Called if the application exceeds
        `--request-timeout` in a thread, since threads cannot be stopped.
        """
        return self._session.lose()

    # Deadlines

    @property
    def moved(self) -> int:
        """The client's progress on this stream, for the deadline: the bytes of the body that it has sent, plus the
        bytes of the answer for which its flow-control windows had room.
        """
        queued = sum(item.count if isinstance(item, FileRegion) else len(item) for item in self.later or ())
        return self._received + self.sent - queued

    def deadline(self, now: float) -> float | None:
        """Return when the client's time is up, on the clock of `now` (seconds); None if the server waits for nothing
        from the client on this stream.
        """
        session, self.due_at = self._session, None
        if self.over:
            return None
        timeouts = session.rules.timeouts
        if session.refused_until is not None and not self.begun and (self.collects or self.status):
            # Nothing that the client sends or takes puts it off.
            self.due_at = session.refused_until if self.collects else session.refused_until + STOPPING_S
            return self.due_at
        if self.waits_for_body or self.collects:
            timeout = timeouts.body
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
        """Handle a deadline that has passed: answer 408, or reset the stream of a client that does not read."""
        if self.later is not None:
            self.reset(CANCEL)
        elif self.collects and self._session.stops_now:
            self._break(ProtocolError(503, "the server stops, and the body has not come"))
        else:
            self._break(ProtocolError(408, "the body of the request did not come in time"))
