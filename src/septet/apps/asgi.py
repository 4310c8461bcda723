"""ASGI 3 (specification version 2.4, HTTP): a coroutine that is given a scope, `receive` and `send`.

A `Cycle` is one request and its answer. The model creates it and runs it as a task. `_channel` has `receive` and
`send`, `_messages` checks the messages.
"""

import itertools
import logging
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, cast
from urllib.parse import unquote

from septet import forked
from septet.apps import _tls as tls
from septet.apps._channel import Carrier, Channel
from septet.apps._diagnostics import log_raised, warn_of_websocket
from septet.apps._messages import Message
from septet.apps.asgi_websocket import WebSocketCycle
from septet.exchange import ClientGone, Exchange, Request, WebSocketExchange
from septet.websocket.handshake import asks_for_websocket

log = logging.getLogger("septet")

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

MARK: ContextVar[int] = ContextVar("septet_request")
"""The number of the request (`Cycle.mark`) for which a task runs, where requests are marked (`Asgi.marks`). Libraries
copy the context of a task to the threads in which they call functions for it (anyio.to_thread, asyncio.to_thread,
asgiref), so the threads of a request can be told apart. It is a number so that a task that outlives its request does
not keep more of it.
"""
_numbers = itertools.count(1)

EXTENDED = ("http.response.early_hint", "http.response.trailers")
"""ASGI extensions that an application is offered only if the client understands interim answers and trailers
(`Exchange.extended`): in HTTP/1.0 it does not.
"""


class Asgi:
    """An ASGI application, the extensions that it is offered, and the state that its lifespan has set up."""

    name = "the application"
    """How log messages call the application."""

    def __init__(
        self, application: Application, extensions: Iterable[str] = (), no_websocket: str = "it has none"
    ) -> None:
        self.application = application
        self.no_websocket = no_websocket
        """The reason why this application gets no WebSockets, as text for log messages; empty if it gets them."""
        self.extensions = frozenset(extensions)
        """The extensions that the application is offered, by their full names, such as `http.response.trailers`."""
        self._without_extended = self.extensions.difference(EXTENDED)
        self.state: dict[str, Any] = {}
        self.marks = False
        """True if each request's task is to be marked by `MARK`: for `--request-timeout`, which looks for threads that
        go on after their request has ended.
        """

    def scope(self, exchange: Exchange) -> Scope:
        """Make the scope of a request. The application may change everything in it without effect on other requests."""
        request = exchange.request
        if request.derived is None:
            scope: Scope = self._from_head(request)
        else:
            template = request.derived.get(self) or request.derived.setdefault(self, self._from_head(request))
            scope = template.copy()
        scope["asgi"] = {"version": "3.0", "spec_version": "2.4"}
        nothing: dict[str, Any] = {}  # no extension has parameters, so one dictionary serves all
        offered = self.extensions if request.version != "1.0" else self._without_extended
        scope["extensions"] = dict.fromkeys(offered, nothing)
        if exchange.tls is not None:
            scope["extensions"]["tls"] = tls.extension(exchange.tls)
        scope["headers"] = list(request.fields)
        scope["client"] = request.client or exchange.client
        scope["server"] = exchange.server
        scope["state"] = self.state.copy()
        return scope

    def _from_head(self, request: Request) -> dict[str, Any]:
        """Make the part of a scope that depends on the request's head alone."""
        path = request.path.decode("ascii")
        return {
            "type": "http",
            "http_version": request.version,
            "method": request.method,
            "scheme": request.scheme,
            "path": unquote(path) if "%" in path else path,
            "raw_path": request.path,
            "query_string": request.query,
            "root_path": "",
        }


UNTOLD_S = 5.0
"""Seconds after which an application is cancelled that has begun its answer, and does nothing by which it would learn
that its client has gone (`_Untold`). Starlette cancels at once under servers that name a version below 2.4.
"""

TOO_LATE = "it has exceeded --request-timeout"
"""The message with which the server cancels the task of a request that has exceeded `--request-timeout`
(asyncio.Task.cancel); it is logged.
"""


def takes_websocket(asgi: Asgi, request: Request) -> bool:
    """True if the application is to answer this request, which has an Upgrade field, as a WebSocket. If the request
    asks for a WebSocket that the server cannot give, a warning is logged.
    """
    if not asks_for_websocket(request):
        return False
    if asgi.no_websocket:
        warn_of_websocket(request, asgi.no_websocket)
        return False
    return True


def cycle_of_upgrade(asgi: Asgi, exchange: Exchange, carrier: Carrier) -> "Cycle | WebSocketCycle":
    """Return the object that runs the application for a request with an Upgrade field: a `WebSocketCycle` if the
    request opens a WebSocket, else a `Cycle`.
    """
    if takes_websocket(asgi, exchange.request):
        return WebSocketCycle(cast(WebSocketExchange, exchange), carrier)
    return Cycle(exchange, carrier)


class Cycle(Channel):
    """One request and its answer: runs the application with `receive` and `send`.

    `mark`: the number by which the context of its task is marked; not set if the application's requests are not marked.
    """

    __slots__ = ("_sends", "mark")

    def wake(self) -> None:
        if self._waiters:
            super().wake()
        elif self._exchange.gone and type(self) is Cycle and not self.answered and hasattr(self, "task"):
            self.__class__ = _Untold
            cast(_Untold, self).look_later()

    async def run(self, asgi: Asgi) -> None:
        """Run the application for this request to its end. If it raises, the exception is logged, and the answer is
        500; an answer that has begun is broken off.
        """
        exchange = self._exchange
        self._extensions = asgi.extensions
        token = None
        if asgi.marks:
            self.mark = next(_numbers)
            token = MARK.set(self.mark)
        try:
            await asgi.application(asgi.scope(exchange), self.receive, self.send)
            if forked.by_application:
                forked.exit_child()
        except BaseException as error:  # a cancellation as well: it ends only this request
            # `type`, because an object of the application's may raise when `isinstance` asks for its `__class__`.
            if forked.by_application:  # a child that the application has forked: the client is the parent's
                forked.exit_child(None if type(error) is ClientGone else error)
            if type(error) is CancelledError and type(self) is _Untold and self.disconnect_received:
                log.debug("%s was cancelled, because its client has left", self._described())
            elif type(error) is CancelledError and (self.answered or exchange.lost):  # by the server: its time is up
                # `is`, because an argument of the application's may raise when it is compared.
                is_too_late = any(each is TOO_LATE for each in error.args)
                why = TOO_LATE if is_too_late else "its connection has ended"
                log.info("%s was cancelled, because %s", self._described(), why)
            else:
                log_raised(self._request, error, self.disconnect_received)
        else:
            if not (self.answered or exchange.lost or self.disconnect_received):
                log.error("SEP142 the application returned without a whole answer at %s", self._described())
        finally:  # also when what the application has raised raises while it is logged
            if self._broken or not self.answered:
                try:
                    self.fail()
                except BaseException:  # perhaps there was no memory to call it
                    if self._broken or not self.answered:
                        self.fail()
                    raise
            if token is not None:
                with suppress(ValueError):  # a coroutine that is closed at the loop's end is not in its own context
                    MARK.reset(token)  # the context is as new: see `models._tasks`

    def _described(self) -> str:
        return f"{self._request.method} {self._request.target.decode('ascii')}"


class _Untold(Cycle):
    """Takes the place of a cycle whose client has gone while the application waits neither in `receive` nor in `send`,
    as a generator of Starlette's StreamingResponse that waits for an event. If the application does not ask, it is
    cancelled: it would wait for ever, be counted for `--limit-concurrency`, and hold up each stop.

    An application that has not begun its answer is left alone: it may be doing what the client has asked for. One that
    goes on sending is, too: either the client, which has half-closed its connection, reads it, or `send` raises.
    """

    __slots__ = ()

    def look_later(self) -> None:
        """Look in UNTOLD_S seconds whether the application has asked, or sent, by then."""
        task = self.task
        if task is None or task.done():
            return
        self._sends = self._head is None  # the time counts from the answer's beginning
        timer = task.get_loop().call_later(UNTOLD_S, self._look)
        task.add_done_callback(lambda ended: timer.cancel())  # else it would keep the request until then

    def _look(self) -> None:
        if self.answered or self.disconnect_received or self.task is None:
            return
        if self._sends or self._waiters:
            self.look_later()
        else:
            self.disconnect_received = True
            self.task.cancel()

    def _check_turn(self, kind: str) -> bool:
        self._sends = True
        return super()._check_turn(kind)

    async def _wait_half_closed(self) -> bool:
        self._sends = True
        return await super()._wait_half_closed()
