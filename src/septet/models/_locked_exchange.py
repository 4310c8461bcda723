"""A stream of HTTP/2 whose ASGI application runs on the loop, while threads answer other streams of the same
connection. That happens under poll, epoll and io_uring when `--mount` serves both WSGI and ASGI applications
(`_beside`). The streams of a connection share its output, and the tables by which header fields are compressed:
if two threads wrote to them at once, both answers would be wrong.
"""

from collections.abc import Callable
from typing import Any, Protocol

from septet.protocol import ServerExchange


class HasLock(Protocol):
    """The part of a connection that is used here."""

    lock: Any


class LockedExchange:
    """Stands for an exchange, so that another thread cannot use its connection at the same time: each method of
    the exchange is called with the connection's lock held. The ASGI application's channel (`apps._channel`) is
    given this object as its exchange. Attributes that are not methods are read without the lock: one read gives the
    old value or the new one, and the channel is woken after a change.
    """

    __slots__ = ("_connection", "_exchange")

    def __init__(self, exchange: ServerExchange, connection: HasLock) -> None:
        self._exchange: Any = exchange
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._exchange, name)
        return self._locked(value) if callable(value) else value

    def _locked(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with self._connection.lock:  # which is another one in a child that the application has forked
                return method(*arguments)

        return call

    @property
    def called_ns(self) -> int:
        """When the application was called, in nanoseconds of CLOCK_MONOTONIC."""
        return self._exchange.called_ns  # type: ignore[no-any-return]

    @called_ns.setter
    def called_ns(self, now_ns: int) -> None:
        self._exchange.called_ns = now_ns
