"""Applications whose calls are noted in their exchange (`called_ns`): for the access log and for Server-Timing.

They take the place of `Wsgi` and `Asgi` only when an option asks for it.
"""

from contextlib import suppress
from time import monotonic_ns
from typing import Any

from septet.apps.asgi import Asgi, Scope
from septet.apps.wsgi import Wsgi
from septet.exchange import Exchange, Response


class NotedWsgi(Wsgi):
    def __call__(self, exchange: Exchange) -> Response:
        note_call(exchange)
        return super().__call__(exchange)


class NotedAsgi(Asgi):
    def scope(self, exchange: Exchange) -> Scope:
        note_call(exchange)
        return super().scope(exchange)


def note_call(exchange: Any) -> None:
    """The application is called now. Exchanges of some protocols do not keep that."""
    with suppress(AttributeError):
        exchange.called_ns = monotonic_ns()
