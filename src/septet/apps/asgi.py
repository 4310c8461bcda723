"""ASGI 3 (specification version 2.4, HTTP): a coroutine that is given a scope, `receive` and `send`.

A `Cycle` is one request and its answer, and belongs to whoever runs the application; how its words come and go is
`_channel`'s business, what they mean `_messages`'.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote

from septet import forked
from septet.apps._channel import Channel
from septet.apps._messages import Message
from septet.apps._raised import log_raised
from septet.apps._websocket import warn_of_websocket
from septet.exchange import ClientGone, Exchange, Request

log = logging.getLogger("septet")

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

EXTENDED = ("http.response.early_hint", "http.response.trailers")
"""For clients that can be sent interim answers and trailers; see `Exchange.extended`."""


class Asgi:
    """An ASGI application, the extensions that it is offered, and the state that its lifespan has set up."""

    def __init__(self, application: Application, extensions: Iterable[str] = ()) -> None:
        self.application = application
        self.extensions = frozenset(extensions)
        """Full names, such as `http.response.trailers`."""
        self._without_extended = self.extensions.difference(EXTENDED)
        self.state: dict[str, Any] = {}

    def scope(self, exchange: Exchange) -> Scope:
        """What the application may change as it likes: nothing in it that can be changed is another request's."""
        request = exchange.request
        try:
            scope: Scope = request.derived[self].copy()
        except KeyError:
            template = request.derived[self] = _from_head(request)
            scope = template.copy()
        scope["asgi"] = {"version": "3.0", "spec_version": "2.4"}
        nothing: dict[str, Any] = {}  # more is to be said of any: one of this request's own will do for all
        offered = self.extensions if exchange.extended else self._without_extended
        scope["extensions"] = dict.fromkeys(offered, nothing)
        scope["headers"] = list(request.fields)
        scope["client"] = request.client or exchange.client
        scope["server"] = exchange.server
        scope["state"] = self.state.copy()
        return scope


def _from_head(request: Request) -> dict[str, Any]:
    if request.upgrade is not None:
        warn_of_websocket(request)
    return {
        "type": "http",
        "http_version": request.version,
        "method": request.method,
        "scheme": request.scheme,
        "path": unquote(request.path.decode("ascii")),
        "raw_path": request.path,
        "query_string": request.query,
        "root_path": "",
    }


class Cycle(Channel):
    """One request and its answer: the application, between `receive` and `send`."""

    __slots__ = ()

    async def run(self, asgi: Asgi) -> None:
        """The application, to its end. What it raises is logged and becomes a 500 or a cut connection."""
        exchange = self._exchange
        self._extensions = asgi.extensions
        try:
            await asgi.application(asgi.scope(exchange), self.receive, self.send)
            if forked.by_application:
                forked.exit_child()
        except BaseException as error:  # a cancellation too: it ends this request and nothing else
            if forked.by_application:  # what it sends is not its own to send
                forked.exit_child(None if isinstance(error, ClientGone) else error)
            log_raised(self._request, error, self.told_gone)
        else:
            if not (self.answered or exchange.lost or self.told_gone):
                log.error("the application returned without a whole answer at %s", self._asked())
        if not self.answered:
            self.give_up()

    def _asked(self) -> str:
        return f"{self._request.method} {self._request.target.decode('ascii')}"
