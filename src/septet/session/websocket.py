"""One client that speaks WebSocket (RFC 6455): what a session becomes when its exchange is upgraded.

A connection begins as HTTP/1.1. When the application accepts a WebSocket, the answer 101 is sent, and from then on the
connection carries messages until it ends. The model, and a protocol around this one such as TLS, keep a reference to
the session, and should not have to check whether it is still the same object. So the session stays the same object and
changes its class: `WebSockets.open` makes a `Session` a `WebSocketSession`, which has the same attributes and other
methods. Ordinary requests pay nothing for it.

What the session wants from the model follows from what waits:

    news for the application    RUN      the application is told, then `noticed` is called
    output for the client       EITHER   WRITE, if nothing may be read: too many messages, or too much output, wait
    nothing                     READ     RUN, if nothing may be read: too many messages wait

Back-pressure needs no more. `unread` tells the model that it reads too far ahead of the application, as with a
request's body; and an application that sends waits until its output is gone.

A client that has vanished is found by its silence. When nothing has come for `Timeouts.ping` seconds, a ping is sent;
if nothing comes in answer, the connection is closed. Any bytes count as a sign of life. While output waits, the client
must take it at the minimum rate that applies to every answer. No other deadline applies to an open WebSocket.
"""

from typing import Any

from septet.exchange import ClientGone, Fields, Want
from septet.http.head import upgrade_head
from septet.protocol import CLOSE, EITHER, READ, RUN, WRITE, Phase
from septet.session.counted import CountedMessages
from septet.session.http1 import Session
from septet.session.observed import NotingSession, ObservedSession
from septet.session.phases import LINGER, OVER, Pace
from septet.websocket.handshake import opening
from septet.websocket.tunnel import INTERNAL_ERROR, QUEUE_BYTES, SERVICE_RESTART, Message, Tunnel, TunnelOptions

CLOSE_S = 5.0
"""Seconds in which a client must answer our Close frame; after that the connection is closed."""

QUIET = Phase("websocket", READ, lambda timeouts: timeouts.ping)
"""Phase: the WebSocket is open, and there is neither output for the client nor news for the application."""
NEWS = Phase("websocket-news", RUN, lambda timeouts: timeouts.ping)
"""Phase: the application must be told of messages or of the end; or nothing is read, because too many messages wait for
it.
"""
OUTPUT = Phase("websocket-output", EITHER, lambda timeouts: timeouts.write, paced=True)
"""Phase: output waits for the client."""
HELD = Phase("websocket-held", WRITE, lambda timeouts: timeouts.write, paced=True)
"""Phase: output waits for the client, and nothing is read: too many messages wait for the application, or too much
output for a client that sends pings and does not read.
"""


class WebSockets:
    """Turns sessions into WebSockets. Implements `rules.Upgrade`."""

    def __init__(self, options: TunnelOptions) -> None:
        self._options = options

    def open(self, session: Session, subprotocol: str | None, fields: Fields) -> Want:
        handshake = opening(session.request)
        tunnel = State(self._options, handshake.extensions)
        head = upgrade_head(handshake.accepted(subprotocol, tunnel.accepted_extensions), fields)
        try:
            answer, early = session.http.switch(head), session.http.take_inbox()
            session.tunnel = tunnel
            session.__class__ = _OPENED[type(session)]
            assert isinstance(session, WebSocketSession)
            want = session.begin(answer, early)
            return session.stop() if session.stopping else want
        except BaseException:  # neither an HTTP connection any more nor a WebSocket yet
            session.lose()
            raise

    def open_on_stream(self, exchange: Any, subprotocol: str | None, fields: Fields) -> Want:
        from septet.session._http2_websocket import open_websocket  # with a library that need not be there

        return open_websocket(exchange, subprotocol, fields, self._options, State)


class State(Tunnel):
    """What a session keeps for its WebSocket: the tunnel, which has the messages and frames, and a record of what the
    application has been told.
    """

    __slots__ = (
        *("closed_told", "closing_since", "ends_with", "given_back", "heard_at", "listening", "news", "pinged"),
        *("room_awaited", "told"),
    )

    def __init__(self, options: TunnelOptions, offered_extensions: tuple[str, ...]) -> None:
        super().__init__(options, offered_extensions)
        self.heard_at: float | None = None
        """When the client's last bytes came, in seconds on the clock of `deadline`. None after bytes have come, until
        `deadline` is called.
        """
        self.closing_since: float | None = None
        """When the client began to have time to answer our Close frame, in seconds on the clock of `deadline`; None
        before `deadline` is called for the first time after that frame.
        """
        self.ends_with = 0
        """When the server stops: the number of bytes that have been sent once our Close frame is. What is sent later
        answers pings of the client, and does not put off the end.
        """
        self.pinged = False
        """True if a ping was sent and nothing has come from the client since."""
        self.given_back = 0
        """Over HTTP/2: number of received bytes for which the stream's window was opened again (WINDOW_UPDATE)."""
        self.told = 0
        """Over HTTP/2: number of waiting messages that the application was told of and has not taken."""
        self.news = False
        """True if the application must be told of something: messages, room for more output, or the end."""
        self.listening = True
        """True as long as the application takes messages; False once the application has ended."""
        self.room_awaited = False
        """True if the application waits until all output has been sent."""
        self.closed_told = False
        """True if the application was told that the WebSocket has ended."""


class WebSocketSession(Session):
    """One open WebSocket. Implements `protocol.ServerProtocol` and `exchange.WebSocketExchange`."""

    __slots__ = ()

    tunnel: State

    def begin(self, answer: bytes, early: bytes) -> Want:
        """Begin the life of the WebSocket: queue `answer`, the answer 101, for the client, and handle `early`, the
        bytes that followed the request on the connection. Returns what the connection wants next.
        """
        self._pace = self.since = None
        self._send(answer)
        if early:
            self._take(early)
        return self._next()

    def _next(self) -> Want:
        """Enter the phase that follows from what waits (news for the application, output for the client, or nothing),
        and return what the connection wants in it.
        """
        tunnel = self.tunnel
        if self.lost:
            return CLOSE
        if tunnel.news:
            phase = NEWS
        elif self.output:
            read = self.later is None and tunnel.queued + len(tunnel.unparsed) <= QUEUE_BYTES
            phase = OUTPUT if read else HELD
        elif (tunnel.closed is not None and tunnel.over) or self.ended:
            phase = OVER
        else:
            phase = QUIET if tunnel.queued + len(tunnel.unparsed) <= QUEUE_BYTES else NEWS
        self.phase = phase
        return phase.want

    def _send(self, data: bytes) -> None:
        """Queue bytes for the client, and add them to the number of bytes sent."""
        self.http.sent += len(data)
        if not self.output:
            self.output = data
        else:
            self._queue(data, b"")

    # What the carrier reads and calls

    @property
    def unread(self) -> int:
        return self.tunnel.unread

    @property
    def closes(self) -> bool:
        return self.tunnel.over

    @property
    def gone(self) -> bool:
        return self.lost or self.ended

    @property
    def may_have_unread_input(self) -> bool:
        return False

    def receive(self, data: bytes) -> Want:
        if self.phase is LINGER:
            return self._discard(data)
        if data:
            self._take(data)
        else:
            self.ended = self.http.ended = True
            while self.tunnel.behind:  # a close frame may be in it
                self.tunnel.parse()
            self.tunnel.end()
            self._tell_end()
            self.output = b""
            self.later = None
            self._pace = None
        return self._next()

    def _take(self, data: bytes) -> None:
        tunnel = self.tunnel
        tunnel.heard_at = None
        tunnel.pinged = False
        if self.later is None and not tunnel.behind:
            known = len(tunnel.messages)
            tunnel.receive(data)
            self._after_input(known)
        else:  # so much output waits that each ping must not be answered by more; or it is not our turn
            tunnel.unparsed += data

    def _after_input(self, known: int | None = None) -> None:
        """Send what the library answers to received frames, and note whether the application has to be told something:
        of messages, if more than `known` wait (None: do not look), or of the end.
        """
        tunnel = self.tunnel
        if tunnel.frames.writes and (output := tunnel.output()):
            self._send(output)
        if not tunnel.listening:
            tunnel.drop()
        elif tunnel.behind or (known is not None and len(tunnel.messages) > known):
            tunnel.news = True
        elif tunnel.closed is not None and not tunnel.closed_told:
            self._tell_end()

    def _tell_end(self) -> None:
        tunnel = self.tunnel
        tunnel.closed_told = True
        tunnel.news = tunnel.listening

    def wrote(self, count: int) -> Want:
        output = self.output
        if count < len(output):
            self.output = memoryview(output)[count:]
            return self.phase.want
        self.output = b""
        if self.later is not None:
            self._next_queued(self.later)
        else:
            self._pace = None
            tunnel = self.tunnel
            if tunnel.unparsed and not tunnel.behind:
                self._parse()
            if tunnel.room_awaited:
                tunnel.room_awaited = False
                tunnel.news = tunnel.listening
        return self._next()

    def _parse(self) -> None:
        known = len(self.tunnel.messages)
        self.tunnel.parse()
        self._after_input(known)

    def deadline(self, now: float) -> float | None:
        phase, timeouts, tunnel = self.phase, self._rules.timeouts, self.tunnel
        if phase is LINGER or phase is OVER:
            return super().deadline(now)
        ending = tunnel.closing and self.http.stopping
        if self.output and not (ending and self._moved >= tunnel.ends_with):
            pace = self._pace
            timeout = timeouts.linger if ending else timeouts.write
            if pace is None or pace.timeout != timeout:
                pace = self._pace = Pace(timeout, timeouts.rate)
            return pace.deadline(now, self._moved)
        if tunnel.closing:
            if tunnel.closing_since is None:  # pings of the client, and our answers to them, do not put off the end
                tunnel.closing_since = now
            return tunnel.closing_since + (timeouts.linger if ending else CLOSE_S)
        if not timeouts.ping:
            return None
        if tunnel.queued + len(tunnel.unparsed) > QUEUE_BYTES:  # nothing is heard, because nothing is read
            tunnel.heard_at = None
            return None
        if tunnel.heard_at is None:
            tunnel.heard_at = now
        return tunnel.heard_at + (timeouts.pong if tunnel.pinged else timeouts.ping)

    def expire(self) -> Want:
        """Handle a deadline that has passed: send a ping, or close the connection of a client that has not answered a
        ping, does not read, or does not close.
        """
        tunnel = self.tunnel
        if self.phase is LINGER or self.output or tunnel.closing:
            return self.lose()
        tunnel.heard_at = None
        if tunnel.pinged:
            tunnel.fail(INTERNAL_ERROR, "no answer to a ping")
            self._after_input()
        else:
            tunnel.pinged = True
            self._send(tunnel.ping())
        return self._next()

    def drain(self) -> Want:
        """Called when the server has a successor, a newer process that serves new clients: close the WebSocket with the
        close code 1012 (service restart), so that the client connects again, to the successor.
        """
        return self.stop()

    def stop(self) -> Want:
        """Called when the server stops: close the WebSocket with the close code 1012 (service restart), and tell the
        application.
        """
        self.http.stopping = True
        if self.phase is LINGER or self.lost:
            return self.phase.want
        tunnel = self.tunnel
        if not tunnel.closing:
            tunnel.close(SERVICE_RESTART, STOPPING)
        if tunnel.closed is None:
            tunnel.closed = SERVICE_RESTART, STOPPING
        self._after_input()
        tunnel.ends_with = self.http.sent
        return self._next()

    def lose(self) -> Want:
        self.tunnel.end()
        self.tunnel.news = False
        return super().lose()

    def half_close(self) -> bool:
        """Return True if the model must shut down our side of the connection and wait for the client's end. False if it
        may close at once: the client has sent a Close frame and so sends nothing that could destroy what was sent last.
        """
        if self.lost or self.ended or self.tunnel.client_closed:
            return False
        self.ended = self.http.ended = True
        self._enter(LINGER)
        return True

    def close(self) -> None:
        self.tunnel.end()
        self.tunnel.dispose()
        if self._rules.observer and self.exchange is not None:
            self._rules.observer.ended(self)
        super().close()

    # What the application calls

    @property
    def blocked(self) -> bool:
        return bool(self.output)

    @property
    def closed(self) -> tuple[int, str] | None:
        return self.tunnel.closed

    def noticed(self) -> None:
        self.tunnel.news = False
        self._next()

    @property
    def behind(self) -> bool:
        return self.tunnel.behind

    def catch_up(self) -> Want:
        if self.later is None:
            self._parse()
        else:  # `wrote` goes on, when the output is gone
            self.tunnel.behind = False
        return self._next()

    def next_message(self) -> Message | None:
        return self.tunnel.take()

    @property
    def held(self) -> bool:
        phase = self.phase
        return phase is NEWS or phase is HELD

    def resume(self) -> Want:
        self._after_input()
        self.tunnel.news = False  # the application is here
        return self._next()

    def send_message(self, message: Message) -> Want:
        tunnel = self.tunnel
        if self.lost or tunnel.closed is not None or tunnel.close_begun:
            raise ClientGone("the WebSocket has ended")
        data = tunnel.message(message)
        self.http.sent += len(data)
        if self.output:
            self._queue(data, b"")
        else:
            self.output = data
        return self._next()

    def awaits_room(self) -> bool:
        self.tunnel.room_awaited = waits = bool(self.output)
        return waits

    def close_websocket(self, code: int, reason: str) -> Want:
        tunnel = self.tunnel
        if not (self.lost or self.ended or tunnel.closing):
            tunnel.close(code, reason)
            self._after_input()
        return self._next()

    def detach(self) -> Want:
        tunnel = self.tunnel
        tunnel.listening = tunnel.news = False
        tunnel.drop()
        self._after_input()
        return self._next()

    def fail(self) -> Want:
        """Called when the application has raised: close the WebSocket with the close code 1011 (internal error)."""
        return self.close_websocket(INTERNAL_ERROR, "")


STOPPING = "the server stops"


class ObservedWebSocketSession(CountedMessages, WebSocketSession, ObservedSession):
    """The class that an `ObservedSession` takes when a WebSocket is opened. It also counts messages."""

    __slots__ = ()


class NotingWebSocketSession(CountedMessages, WebSocketSession, NotingSession):
    """The class that a `NotingSession` takes when a WebSocket is opened. It also counts messages."""

    __slots__ = ()


_OPENED: dict[type[Session], type[WebSocketSession]] = {
    Session: WebSocketSession,
    ObservedSession: ObservedWebSocketSession,
    NotingSession: NotingWebSocketSession,
}
"""For each class of session: the class that its object takes when a WebSocket is opened."""
