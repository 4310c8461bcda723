"""Sessions over TLS and WebSockets that count what happens (`rules.Traffic`).

They take the place of `Tls` and `WebSocketSession` only with `--metrics-bind` or `--control`, so that other servers pay
nothing.
"""

from typing import Any

from septet.exchange import Want
from septet.rules import Rules
from septet.session._around import Inner
from septet.session.tls import Tls, Wrap

_REASONS = (
    ("CERT", "certificate"),
    ("UNKNOWN_CA", "certificate"),
    ("UNSUPPORTED_PROTOCOL", "no agreement"),
    ("VERSION", "no agreement"),
    ("NO_SHARED", "no agreement"),
    ("NO_SUITABLE", "no agreement"),
    ("HTTP", "plain HTTP"),
)
"""Parts of OpenSSL's error names, each with the reason under which the failed handshake is counted
(`metrics.lanes.TLS_FAILURES`).
"""


class CountedTls(Tls):
    """A TLS connection that counts handshakes and closed connections. Implements `protocol.ServerProtocol`."""

    __slots__ = ("_failure", "_is_open")

    def __init__(self, inner: Inner, wrap: Wrap, rules: Rules) -> None:
        super().__init__(inner, wrap, rules)
        self._is_open = False
        """True from the end of the handshake to the end of the connection."""
        self._failure = "incomplete"
        """The reason under which a failed handshake is counted if the connection ends now, one of
        `metrics.lanes.TLS_FAILURES`; "" once it was counted.
        """

    def _shake_hands(self, data: bytes) -> Want:
        want = super()._shake_hands(data)
        agreed = self._inner.tls
        if agreed is not None and self._failure == "incomplete" and not self._is_open:
            self._is_open = True
            self._traffic.shaken(agreed.version, agreed.resumed)
        return want

    def _begin(self, data: bytes) -> bool:
        is_tls = super()._begin(data)
        if self._own is None:  # it is answered without TLS
            self._failure = "plain HTTP"
        return is_tls

    def _fail(self, error: Any) -> Want:
        reason = error.reason or ""
        self._failure = next((kind for part, kind in _REASONS if part in reason), "protocol")
        return super()._fail(error)

    def close(self) -> None:
        if self._is_open:
            self._traffic.tls_closed()
        elif self._failure:
            self._traffic.not_shaken(self._failure)
        self._is_open, self._failure = False, ""
        super().close()

    @property
    def _traffic(self) -> Any:
        return self._rules.traffic


class CountedMessages:
    """The part of a WebSocket's session that counts messages and bytes (`rules.Traffic`). It must come before
    `WebSocketSession` among the base classes.
    """

    __slots__ = ()

    _rules: Rules
    exchange: Any
    tunnel: Any

    def begin(self, answer: bytes, early: bytes) -> Want:
        if (traffic := self._rules.traffic) is not None:
            traffic.websocket_opened()
            traffic.bytes_received(len(early))
        return super().begin(answer, early)  # type: ignore[misc,no-any-return]

    def receive(self, data: bytes) -> Want:
        if (traffic := self._rules.traffic) is not None:
            traffic.bytes_received(len(data))
        return super().receive(data)  # type: ignore[misc,no-any-return]

    def wrote(self, count: int) -> Want:
        if (traffic := self._rules.traffic) is not None:
            traffic.bytes_sent(count)
        return super().wrote(count)  # type: ignore[misc,no-any-return]

    def next_message(self) -> str | bytes | None:
        message: str | bytes | None = super().next_message()  # type: ignore[misc]
        if message is not None and (traffic := self._rules.traffic) is not None:
            traffic.message_received()
        return message

    def send_message(self, message: str | bytes) -> Want:
        want = super().send_message(message)  # type: ignore[misc]
        if (traffic := self._rules.traffic) is not None:
            traffic.message_sent()
        return want  # type: ignore[no-any-return]

    def close(self) -> None:
        if self.exchange is not None and (traffic := self._rules.traffic) is not None:
            self.tunnel.end()
            traffic.websocket_closed(self.tunnel.closed[0])
        super().close()  # type: ignore[misc]
