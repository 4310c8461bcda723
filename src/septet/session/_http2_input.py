"""Handles what comes in on an HTTP/2 connection: a method for each kind of event that the library `h2` reports. A base
class of `session.http2.Http2Session`.
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

from septet.exchange import ProtocolError, Request, Want
from septet.http2.budget import FloodError
from septet.http2.connection import CALM, NO_ERROR, PROTOCOL, REFUSED, STREAMS, BrokenError, MalformedStream
from septet.http2.priority import PRIORITY_UPDATE, read_update, urgency_of
from septet.http2.requests import VERSION, Malformed, check_trailers, request_of
from septet.protocol import READ
from septet.session._http2_exchange import Http2Exchange
from septet.session._http2_state import Http2State, Unfinished
from septet.session.phases import LINGER, LINGER_BYTES, OVER

EARNED_BY_REQUEST = 10
"""For each request that the client makes: the number by which its allowance of useless frames (PING, SETTINGS,
WINDOW_UPDATE and others) is raised.
"""
EARNED_BY_CONTENT = 4
"""For each frame of content, in either direction: the number by which the client's allowance of useless frames is
raised. Some clients send WINDOW_UPDATE both for the stream and for the connection after each frame of content.
"""

RETRY_AFTER_S = 1

DRAIN_PING = b"septet.."
"""Content of the PING that is sent after a GOAWAY: the client's answer to it shows that the client has read the
GOAWAY.
"""

_INVALID = Request("GET", b"", b"", b"", VERSION, ())
"""The request of an exchange that answers an invalid head with an error, since there is no valid request."""


class Http2Input(Http2State):
    """The part of an HTTP/2 session that handles what the client sends."""

    __slots__ = ()

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
            if (traffic := self.rules.traffic) is not None:
                traffic.http2_flooded()
            self.codec.over = True
            self.codec.go_away(self.codec.highest_stream, CALM, str(error).encode())
            self._break_off()
        return self.go_on()

    def _end_input(self) -> Want:
        """Handle the end of what the client sends: requests that are complete are still answered, as far as the
        client's windows permit.
        """
        self.ended = self._leaving = True
        self._unfinished.clear()
        for exchange in list(self._exchanges.values()):
            if not exchange.input_ended and not exchange.begun:
                exchange.was_reset()
            elif exchange.begun and not exchange.answered:
                exchange.connection_ended()
        self._try_again()  # what has no room has none for ever: see `_make_frames`
        return self.go_on()

    def _break_off(self) -> None:
        """End all streams now, because the client has broken the protocol. The connection ends when its output has been
        sent, which includes a GOAWAY that says what the client did wrong.
        """
        self._closing = self._lingers = True
        self._unfinished.clear()
        for exchange in list(self._exchanges.values()):
            exchange.was_reset()

    def _request(self, event: RequestReceived) -> None:
        """Handle a complete head: open an exchange for it, or refuse it."""
        stream, ended = event.stream_id, event.stream_ended is not None
        assert stream is not None, "the library names it"
        self._control.earn(EARNED_BY_REQUEST)
        if (traffic := self.rules.traffic) is not None:
            traffic.http2_request()
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
        """Make the exchange of a stream. `ended`: the request has no body."""
        exchange = self._exchanges[stream] = Http2Exchange(self, stream, request, ended)
        return exchange

    def _admit(self, exchange: Http2Exchange) -> None:
        """Handle an exchange whose head is complete: begin to collect its body, or queue it so that its application is
        called. Answer 400 if its untrusted fields are malformed, 503 if too many requests are in flight.
        """
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
        """Give content to its exchange. The client may then at once send as many bytes more on the connection as have
        come, whether the exchange has used them or not; the window of the stream opens only when they are used.
        """
        stream, count, data = event.stream_id or 0, event.flow_controlled_length or 0, event.data
        assert data is not None, "the library has it"
        self.codec.took(count)
        if data:
            self._control.earn(EARNED_BY_CONTENT)
        elif event.stream_ended is None:
            self._control.spend()
        exchange = self._exchanges.get(stream)
        if exchange is None or exchange.over:
            if stream in self._unfinished:
                self._discard(stream, count)
            return
        if count > len(data):  # padding
            self.codec.used(stream, count - len(data))
        if data:
            exchange.took(data)

    def answered_early(self, stream: int, unread: int) -> None:
        """Discard what still comes of a request whose answer is complete, for as long as after an HTTP/1.1 connection
        (`phases.LINGER`); then the client is told to stop by a reset of the stream (RFC 9113 section 8.1).

        Not at once: after a reset curl loses the end of the answer, and httpx and Java's client, which send the whole
        body first, wait for a window that does not open any more.
        """
        unfinished = self._unfinished
        if len(unfinished) >= STREAMS:
            self._end_unfinished(next(iter(unfinished)))
        unfinished[stream] = Unfinished()
        self.codec.used(stream, unread)

    def _discard(self, stream: int, count: int) -> None:
        """Drop content that comes for a request which was answered before its body was complete. After more than
        LINGER_BYTES the stream is reset, so that the client sends no more.
        """
        unfinished = self._unfinished[stream]
        unfinished.came += count
        if unfinished.came > LINGER_BYTES:
            self._end_unfinished(stream)
        else:
            self.codec.used(stream, count)

    def _deadline_of_unfinished(self, now: float, due: float | None) -> float | None:
        """Return the earlier of `due` and the time at which the first of the answered streams is reset whose request
        has not ended.
        """
        for unfinished in self._unfinished.values():
            if unfinished.until is None:
                unfinished.until = now + self.rules.timeouts.linger
        first = next(iter(self._unfinished.values())).until
        assert first is not None, "each has a time now"
        if due is not None and due <= first:
            return due
        self._announcement_ends = False
        self._late_until = max(first, now)
        return first

    def _expire_streams(self, until: float) -> None:
        """End all streams whose deadline is not later than `until`: one at each look would prolong a stop by the number
        of streams.
        """
        for stream, unfinished in list(self._unfinished.items()):
            if unfinished.until is not None and unfinished.until <= until:
                self._end_unfinished(stream)
        for exchange in list(self._exchanges.values()):
            if exchange.due_at is not None and exchange.due_at <= until:
                self.rules.refused(f"a stream of {self.peer or 'an unknown client'} was too slow")
                exchange.expire()

    def _end_unfinished(self, stream: int) -> None:
        self._finish_unfinished(stream)
        self.codec.reset(stream, NO_ERROR)

    def _finish_unfinished(self, stream: int) -> bool:
        """Called when the request of a stream has ended, whatever ended it. Returns True if the stream was answered
        before.
        """
        if self._unfinished.pop(stream, None) is None:
            return False
        self.codec.forget(stream)
        return True

    def _stream_ended(self, event: StreamEnded) -> None:
        """Handle the end of a request on its stream: tell the exchange that its body is complete."""
        self._finish_unfinished(event.stream_id or 0)
        exchange = self._exchanges.get(event.stream_id or 0)
        if exchange is not None and not exchange.input_ended:
            exchange.ends_input()

    def _trailers(self, event: TrailersReceived) -> None:
        """Check the trailers of a request and drop them, because no application interface has them. If they are
        malformed, the stream is reset.
        """
        exchange = self._exchanges.get(event.stream_id or 0)
        try:
            check_trailers(tuple((bytes(name), bytes(value)) for name, value in event.headers or ()))
        except Malformed:
            self._resets.spend()
            if exchange is not None:
                exchange.reset(PROTOCOL)
            elif self._finish_unfinished(event.stream_id or 0):
                self.codec.reset(event.stream_id or 0, PROTOCOL)

    def _stream_reset(self, event: StreamReset) -> None:
        """Handle a stream that the client has reset, or that the library has reset because of the client's error: count
        it against the client's allowance of resets, and end its exchange.
        """
        if (traffic := self.rules.traffic) is not None:
            traffic.http2_reset()
        self._resets.spend()
        self._finish_unfinished(event.stream_id or 0)
        exchange = self._exchanges.get(event.stream_id or 0)
        if exchange is not None:
            exchange.was_reset()

    def _malformed(self, event: MalformedStream) -> None:
        """Handle a request that has turned out to be malformed, and whose stream was reset for that: log it, count it
        against the client's allowance of resets, and end its exchange.
        """
        self.rules.refused(f"a request from {self.peer or 'an unknown client'} is malformed: {event.why}")
        self._resets.spend()
        self._finish_unfinished(event.stream_id)
        exchange = self._exchanges.get(event.stream_id)
        if exchange is not None:
            exchange.was_reset()

    def _window_updated(self, event: WindowUpdated) -> None:
        """Queue the exchanges again that had content to send and waited for room in the flow-control window that has
        grown.
        """
        self._control.spend()
        if not event.stream_id:
            self._try_again()
        elif (exchange := self._stalled.pop(event.stream_id, None)) is not None:
            self._senders.add(exchange.urgency, exchange)

    def _settings_changed(self, event: RemoteSettingsChanged) -> None:
        """Handle new settings of the client, which the library has applied. They may have enlarged all flow-control
        windows, so all exchanges that wait for room are queued again.
        """
        self._control.spend()
        self._try_again()

    def _try_again(self) -> None:
        """Queue all exchanges again that had content to send and waited for room in a flow-control window: any window
        may have room now.
        """
        for exchange in self._stalled.values():
            self._senders.add(exchange.urgency, exchange)
        self._stalled.clear()

    def _unknown_frame(self, event: UnknownFrameReceived) -> None:
        """Handle a frame that the library does not know. A PRIORITY_UPDATE changes the urgency of the stream that it
        names; any other such frame is ignored.
        """
        self._control.spend()
        frame: Any = event.frame
        if getattr(frame, "type", None) == PRIORITY_UPDATE:
            stream, urgency = read_update(frame.body)
            if (exchange := self._exchanges.get(stream)) is not None:
                exchange.urgency = urgency  # from the next time that it is queued

    def _ping_answered(self, event: PingAckReceived) -> None:
        """Handle the client's answer to a PING. If that PING was the one sent by `drain`, the client knows that the
        connection ends soon, so the last GOAWAY is sent. Any other answer only counts as a useless frame.
        """
        self._control.spend()
        if self._draining and event.ping_data == DRAIN_PING:
            self._refuse_from_now_on()

    def _client_leaves(self, event: ConnectionTerminated) -> None:
        """Handle the client's GOAWAY, after which it opens no more streams: the connection ends when the requests that
        it has made are answered.
        """
        self._control.spend()
        self._leaving = True


_HANDLERS: dict[type[Event], Callable[[Http2Input, Any], None]] = {
    RequestReceived: Http2Input._request,
    DataReceived: Http2Input._data,
    StreamEnded: Http2Input._stream_ended,
    TrailersReceived: Http2Input._trailers,
    StreamReset: Http2Input._stream_reset,
    MalformedStream: Http2Input._malformed,
    WindowUpdated: Http2Input._window_updated,
    RemoteSettingsChanged: Http2Input._settings_changed,
    UnknownFrameReceived: Http2Input._unknown_frame,
    PingAckReceived: Http2Input._ping_answered,
    ConnectionTerminated: Http2Input._client_leaves,
}
"""The method for each kind of event of the library `h2`. Every other event counts as a useless frame, and a client that
sends too many of those is disconnected.
"""
