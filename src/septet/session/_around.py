"""What a protocol that wraps another one (TLS around HTTP) passes on unchanged. `session.tls.Tls` inherits from it."""

from typing import Protocol

from septet.exchange import Delivery, ProtocolError, TlsInfo, Want
from septet.protocol import ServerExchange, ServerProtocol
from septet.proxies.proxy_protocol import Header


class Inner(ServerProtocol, Protocol):
    """The attributes and methods that TLS uses of the protocol that it encrypts (HTTP/1.1 or HTTP/2), in addition to
    those of `protocol.ServerProtocol`.
    """

    tls: TlsInfo | None
    """What the TLS handshake agreed on: version, cipher, certificates. None until the handshake is complete."""

    @property
    def peer(self) -> str:
        """The client's address, as lists of trusted proxies name it: its IP address, or "unix:" on a unix socket."""

    def ends(self) -> bool:
        """Return True if the present output is the last, and the connection is closed when it has been sent."""

    def introduce(self, header: Header) -> None:
        """Set the client's and the server's address to those in `header`, the PROXY header that came before TLS."""

    def refuse(self, fault: ProtocolError) -> Want:
        """Answer with the status of `fault`, and close. Called if the client does not speak TLS, has sent a malformed
        PROXY header, or has not chosen HTTP/2 where only HTTP/2 is spoken.
        """


class Around:
    """Base class of a protocol that wraps another one, `_inner`, as TLS does: it has those members of
    `protocol.ServerProtocol` that only pass on what `_inner` says or does.
    """

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
