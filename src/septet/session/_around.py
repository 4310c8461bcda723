"""A protocol around another one: what it passes on unchanged. For `session.tls`."""

from typing import Protocol

from septet.exchange import Delivery, ProtocolError, TlsInfo, Want
from septet.protocol import ServerExchange, ServerProtocol
from septet.proxies.proxy_protocol import Header


class Inner(ServerProtocol, Protocol):
    """What TLS asks of the protocol in it, beside what a carrier does."""

    tls: TlsInfo | None
    """Set when the handshake is over."""

    @property
    def peer(self) -> str:
        """As in `session.http1.Session`."""

    @property
    def ends(self) -> bool:
        """The present output is the last, and the connection is closed when it has gone."""

    def introduce(self, header: Header) -> None:
        """A proxy has said whose connection this is, before TLS began."""

    def refuse(self, fault: ProtocolError) -> Want:
        """Answer a client that does not speak TLS, and close."""


class Around:
    """The part of `protocol.ServerProtocol` that is the inner protocol's own, whatever is around it."""

    __slots__ = ("_inner",)

    _inner: Inner

    @property
    def exchange(self) -> ServerExchange:
        return self._inner.exchange

    def take_turn(self) -> ServerExchange:
        return self._inner.take_turn()

    @property
    def delivery(self) -> Delivery | None:
        return self._inner.delivery

    @delivery.setter
    def delivery(self, delivery: Delivery | None) -> None:
        self._inner.delivery = delivery

    @property
    def lost(self) -> bool:
        return self._inner.lost

    @property
    def gone(self) -> bool:
        return self._inner.gone

    @property
    def unread(self) -> int:
        return self._inner.unread

    @property
    def stopping(self) -> bool:
        return self._inner.stopping

    @property
    def closes(self) -> bool:
        return self._inner.closes

    @property
    def yields(self) -> bool:
        return self._inner.yields

    @property
    def may_have_unread_input(self) -> bool:
        return self._inner.may_have_unread_input

    def waited(self, now: float) -> None:
        self._inner.waited(now)
