"""One WebSocket over HTTP/2 (RFC 8441): what an exchange becomes when the application accepts an extended CONNECT.

The frames of WebSocket are the content of the stream in both directions, and the flow-control windows of HTTP/2 bound
them. As in `session.websocket`, the object stays the same and changes its class, so the model need not check. When
messages have come, the session has the model tell the application's interface, after which `noticed` is called. In
models that serve one exchange after the other, the connection serves only the WebSocket until it ends.

The stream's window opens as messages are taken, so what the application has not taken is bounded by QUEUE_BYTES and the
window. A ping is sent when nothing has come for `Timeouts.ping` seconds, as on a connection of HTTP/1.1.
"""

from typing import Any

from septet.exchange import ClientGone, Fields, FileRegion, Part, Want
from septet.http.head import upgrade_head
from septet.http2.answers import lowered, server_fields
from septet.http2.connection import CANCEL
from septet.session._http2_exchange import Http2Exchange
from septet.session.phases import Pace
from septet.websocket.handshake import opening
from septet.websocket.tunnel import INTERNAL_ERROR, QUEUE_BYTES, SERVICE_RESTART, Message, TunnelOptions

CLOSE_S = 5.0
"""Seconds in which a client must answer our Close frame; after that the stream is reset."""

STOPPING = "the server stops"


def open_websocket(
    exchange: Http2Exchange, subprotocol: str | None, fields: Fields, options: TunnelOptions, make_state: Any
) -> Want:
    """Accept a WebSocket: answer 200, and make the exchange a `Http2WebSocket`. Returns what the connection wants next.

    Args:
        subprotocol: the one that the application has chosen, or None.
        fields: the application's header fields for the answer.
        make_state: the class that keeps the WebSocket's messages and frames, `session.websocket.State`.
    """
    handshake = opening(exchange.request)
    tunnel = make_state(options, handshake.extensions)
    ours = handshake.accepted_on_stream(subprotocol, tunnel.accepted_extensions)
    head = upgrade_head(ours, fields)
    exchange.tunnel = tunnel
    exchange.__class__ = Http2WebSocket
    assert isinstance(exchange, Http2WebSocket)
    try:
        return exchange.begin(head.fields, head.has_date, head.has_server)
    except BaseException:  # no ordinary request any more, nor a WebSocket yet: what it would send would be misread
        exchange.lose()
        exchange.__class__ = Http2Exchange  # type: ignore[assignment]  # which ends when the application does
        raise


class Http2WebSocket(Http2Exchange):
    """One open WebSocket. Implements `exchange.WebSocketExchange`."""

    __slots__ = ()

    def begin(self, fields: Fields, has_date: bool, has_server: bool) -> Want:
        session = self._session
        ours = server_fields(session.rules.date_and_server(not has_date, not has_server))
        session.codec.send_head(self.stream, ((b":status", b"200"), *lowered(fields), *ours), False)
        self.status = 200
        self.waits_for_body = False
        if (traffic := session.rules.traffic) is not None:
            traffic.websocket_opened()
        early = b"".join(self._pieces)
        self._pieces.clear()
        if early:
            self.took(early)
        if session.stopping:
            self.server_stops()
        return session.go_on()

    # What the session tells and asks

    @property
    def waits(self) -> bool:
        """True if there is nothing to tell the application, so the connection waits for its client instead of running
        the application. Used in models that serve one exchange after the other.
        """
        return not self.tunnel.news and not self.lost

    @property
    def gone(self) -> bool:
        return self.lost or self._session.ended

    def took(self, data: bytes) -> None:
        tunnel = self.tunnel
        tunnel.heard_at = None
        tunnel.pinged = False
        if tunnel.behind:  # there was so much at once that others have their turn first
            tunnel.unparsed += data
        else:
            tunnel.receive(data)
        self._received += len(data)
        if (traffic := self._session.rules.traffic) is not None:
            traffic.bytes_received(len(data))
        self._after_input()
        self._give_back()

    def _give_back(self) -> None:
        """Let the client send as many bytes more as were received (WINDOW_UPDATE), unless too many bytes of messages
        wait for the application.
        """
        tunnel = self.tunnel
        if tunnel.queued + len(tunnel.unparsed) <= QUEUE_BYTES and not self.input_ended:
            count = self._received - tunnel.given_back
            tunnel.given_back = self._received
            if count:
                self._session.codec.used(self.stream, count)

    def ends_input(self) -> None:
        """Handle the end of the client's stream. Without a Close frame before it, the WebSocket's close code is then
        1006, which stands for an abnormal end.
        """
        self.input_ended = True
        while self.tunnel.behind:  # a close frame may be in it
            self.tunnel.parse()
        self.tunnel.end()
        self._tell()

    connection_ended = ends_input

    def was_reset(self) -> None:
        self.tunnel.end()
        super().was_reset()
        self._tell()

    def server_stops(self) -> None:
        """Called when the server stops: close the WebSocket with the close code 1012 (service restart), and tell the
        application.
        """
        tunnel = self.tunnel
        if self.lost:
            return
        if not tunnel.closing:
            tunnel.close(SERVICE_RESTART, STOPPING)
        if tunnel.closed is None:
            tunnel.closed = SERVICE_RESTART, STOPPING
        self._after_input()
        tunnel.ends_with = self.sent

    def _after_input(self) -> None:
        """Send what the library answers to received frames, and have the application told of messages."""
        tunnel = self.tunnel
        output = tunnel.output()
        if output:
            self._send(output)
        if not tunnel.listening:
            tunnel.drop()
        elif (
            tunnel.behind
            or len(tunnel.messages) > tunnel.told
            or (tunnel.closed is not None and not tunnel.closed_told)
        ):
            self._tell()
        self._end_if_over()

    def _tell(self) -> None:
        tunnel = self.tunnel
        tunnel.told = len(tunnel.messages)
        tunnel.closed_told = tunnel.closed is not None
        tunnel.news = tunnel.listening
        if tunnel.listening:
            self._session.has_turn(self)

    def _send(self, data: bytes) -> None:
        if not (self.lost or self.over):
            self._content.sent += len(data)
            if (traffic := self._session.rules.traffic) is not None:
                traffic.bytes_sent(len(data))
            Http2Exchange._queue(self, data, False)

    def _end_if_over(self) -> None:
        """End our side of the stream when Close frames have been exchanged and the application has ended."""
        if self.tunnel.over and not self.tunnel.listening and not (self._end_queued or self.over or self.lost):
            self._end_queued = True
            self._session.has_output(self)

    def _sent_from(self, queue: Any, codec: Any, data: Any) -> None:
        super()._sent_from(queue, codec, data)
        if self.later is None and self.tunnel.room_awaited:
            self.tunnel.room_awaited = False
            self._tell()

    # What the application calls

    @property
    def blocked(self) -> bool:
        return self.later is not None and not self.lost

    @property
    def closed(self) -> tuple[int, str] | None:
        closed: tuple[int, str] | None = self.tunnel.closed
        return closed

    def noticed(self) -> None:
        self.tunnel.news = False
        self._session.go_on()

    @property
    def behind(self) -> bool:
        return bool(self.tunnel.behind)

    def catch_up(self) -> Want:
        self.tunnel.parse()
        self._after_input()
        self._give_back()
        return self._session.go_on()

    def next_message(self) -> Message | None:
        tunnel = self.tunnel
        message: Message | None = tunnel.take()
        if message is not None:
            tunnel.told -= 1
            if (traffic := self._session.rules.traffic) is not None:
                traffic.message_received()
            self._give_back()
        return message

    @property
    def held(self) -> bool:
        return bool(self.tunnel.queued + len(self.tunnel.unparsed) > QUEUE_BYTES)

    def resume(self) -> Want:
        self._after_input()
        self.tunnel.news = False  # the application is here
        self._give_back()
        return self._session.go_on()

    def send_message(self, message: Message) -> Want:
        tunnel = self.tunnel
        if self.lost or tunnel.closed is not None or tunnel.close_begun:
            raise ClientGone("the WebSocket has ended")
        self._send(tunnel.message(message))
        if (traffic := self._session.rules.traffic) is not None:
            traffic.message_sent()
        return self._session.go_on()

    def awaits_room(self) -> bool:
        self.tunnel.room_awaited = waits = self.blocked
        return waits

    def close_websocket(self, code: int, reason: str) -> Want:
        tunnel = self.tunnel
        if not (self.lost or self.input_ended or tunnel.closing):
            tunnel.close(code, reason)
            self._after_input()
        return self._session.go_on()

    def detach(self) -> Want:
        tunnel = self.tunnel
        tunnel.listening = tunnel.news = False
        tunnel.drop()
        self._after_input()
        if self.input_ended and not self.over:
            self._end_queued = True
            self._session.has_output(self)
        return self._end(True)

    def _queue(self, part: Part, last: bool) -> Want:
        raise AssertionError("an open WebSocket has messages, and no content")

    def fail(self) -> Want:
        return self.close_websocket(INTERNAL_ERROR, "")

    # Deadlines

    def deadline(self, now: float) -> float | None:
        tunnel, timeouts = self.tunnel, self._session.rules.timeouts
        self.due_at = None
        if self.over:
            return None
        ending = tunnel.closing and self._session.stopping
        if self.later is not None and not (ending and self.moved >= tunnel.ends_with):
            timeout = timeouts.linger if ending else timeouts.write
            if self._pace is None or self._pace.timeout != timeout:
                self._pace = Pace(timeout, timeouts.rate)
            self.due_at = self._pace.deadline(now, self.moved)
        elif tunnel.closing:  # pings of the client, and our answers to them, do not put off the end
            if tunnel.closing_since is None:
                tunnel.closing_since = now
            self.due_at = tunnel.closing_since + (timeouts.linger if ending else CLOSE_S)
        elif timeouts.ping and not self.held:
            if tunnel.heard_at is None:
                tunnel.heard_at = now
            self.due_at = tunnel.heard_at + (timeouts.pong if tunnel.pinged else timeouts.ping)
        return self.due_at

    def expire(self) -> None:
        tunnel = self.tunnel
        if self.later is not None or tunnel.closing:
            self.reset(CANCEL)
            return
        tunnel.heard_at = None
        if tunnel.pinged:
            tunnel.fail(INTERNAL_ERROR, "no answer to a ping")
            self._after_input()
        else:
            tunnel.pinged = True
            self._send(tunnel.ping())

    @property
    def moved(self) -> int:
        queued = sum(item.count if isinstance(item, FileRegion) else len(item) for item in self.later or ())
        return self.sent - queued

    def drop_body(self) -> None:
        super().drop_body()
        self.tunnel.end()
        self.tunnel.dispose()
        if (traffic := self._session.rules.traffic) is not None:  # last: what is interrupted is done again
            traffic.websocket_closed(self.tunnel.closed[0])
