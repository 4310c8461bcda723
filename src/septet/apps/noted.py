"""WSGI and ASGI applications that note in each exchange when the application was called (`called_ns`).

The access log and the Server-Timing field need that time. `NotedWsgi` and `NotedAsgi` take the place of `Wsgi` and
`Asgi` only when an option asks for one of the two.
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
    """Note in the exchange that the application is called now. Nothing is noted in an exchange without `called_ns`."""
    with suppress(AttributeError):
        exchange.called_ns = monotonic_ns()
