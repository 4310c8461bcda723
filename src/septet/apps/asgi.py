"""ASGI 3 (specification version 2.4, HTTP and lifespan): a coroutine that is given a scope, `receive` and `send`.

A `Cycle` is one request and its answer. It never touches a socket: what it has to say goes to its exchange, and
its `Link` carries that as far as the socket allows; when something changes (more of the body, room for output,
the client gone) the link calls `wake()`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import unquote

from septet.errors import Failed
from septet.http.events import ClientGone, Exchange, Fields, Request, ResponseHead
from septet.http.head import reason_phrase, response_head

log = logging.getLogger("septet")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Application = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

VERSIONS = {"version": "3.0", "spec_version": "2.4"}


class Link(Protocol):
    """What carries a cycle's words to its client."""

    def carry(self, want: Any) -> None:
        """Move bytes as far as the socket allows, and see to it that the rest goes on when it can."""


class Asgi:
    """An ASGI application, and the state that its lifespan has set up."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.state: dict[str, Any] = {}

    def scope(self, exchange: Exchange) -> Scope:
        request = exchange.request
        try:
            scope: Scope = request.derived[self].copy()
        except KeyError:
            template = request.derived[self] = _from_head(request)
            scope = template.copy()
        scope["headers"] = list(request.fields)
        scope["client"] = exchange.client
        scope["server"] = exchange.server
        scope["state"] = self.state.copy()
        return scope


def _from_head(request: Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": VERSIONS,
        "http_version": request.version,
        "method": request.method,
        "scheme": "http",
        "path": unquote(request.path.decode("ascii")),
        "raw_path": request.path,
        "query_string": request.query,
        "root_path": "",
    }


@lru_cache(256)
def _head(status: int, fields: Fields) -> ResponseHead:
    return response_head(status, reason_phrase(status).encode("ascii"), fields)


class Cycle:
    """One request and its answer: `receive`, `send`, and the application between them."""

    __slots__ = ("_all_read", "_asgi", "_asked", "_exchange", "_head", "_link", "_loop", "_waiters", "answered")

    def __init__(self, asgi: Asgi, exchange: Exchange, link: Link, loop: asyncio.AbstractEventLoop) -> None:
        self._asgi = asgi
        self._exchange = exchange
        self._link = link
        self._loop = loop
        self._asked = exchange.request.method, exchange.request.target.decode("ascii")
        """For the log: when an application raises after its answer, the exchange is another's."""
        self._head: ResponseHead | None = None
        self._all_read = False
        self.answered = False
        """From then on the exchange is the next request's, and none of ours."""
        self._waiters: list[asyncio.Future[None]] = []

    async def run(self) -> None:
        """The application, to its end. What it raises is logged and becomes a 500 or a cut connection."""
        exchange = self._exchange
        try:
            await self._asgi.application(self._asgi.scope(exchange), self.receive, self.send)
        except ClientGone as error:
            log.debug("%s", error)
        except BaseException:  # a cancellation too: it ends this request and nothing else
            log.exception("the application raised at %s %s", *self._asked)
        else:
            if not self.answered and not exchange.lost:
                log.error("the application returned without a whole answer at %s %s", *self._asked)
        if not self.answered:
            self.answered = True
            self._link.carry(exchange.fail())

    def wake(self) -> None:
        """Something has changed: whoever waits looks again."""
        waiters = self._waiters
        if waiters:
            self._waiters = []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _change(self) -> "asyncio.Future[None]":
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        return waiter

    async def receive(self) -> Message:
        """The next piece of the body; after the last, and when the client is gone, `http.disconnect`."""
        exchange = self._exchange
        while not (self.answered or self._all_read or exchange.lost):
            try:
                part = exchange.poll()
            except ClientGone:
                break
            if part is not None:
                self._all_read = exchange.body_complete
                return {"type": "http.request", "body": part, "more_body": not self._all_read}
            self._link.carry(exchange.want_body())
            if exchange.waits:
                await self._change()
        while not (self.answered or exchange.gone):
            await self._change()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Begin the answer, or send a part of it and wait until it has gone. Raises ClientGone when nobody listens."""
        kind = message["type"]
        if kind == "http.response.body":
            await self._send_body(message.get("body", b""), not message.get("more_body", False))
        elif kind == "http.response.start":
            if self._head is not None:
                raise RuntimeError("http.response.start was sent twice")
            self._head = self._parse_start(message)
        else:
            raise RuntimeError(f"{kind!r} is not a message that an HTTP application may send")

    @staticmethod
    def _parse_start(message: Message) -> ResponseHead:
        fields = message.get("headers", ())
        try:
            return _head(message["status"], tuple(fields))
        except TypeError:  # pairs may be lists, which are no keys
            return _head(message["status"], tuple((bytes(name), bytes(value)) for name, value in fields))

    async def _send_body(self, body: bytes, last: bool) -> None:
        exchange = self._exchange
        if self.answered:
            raise RuntimeError("http.response.body was sent after the answer was complete")
        if exchange.lost:
            raise ClientGone("the client is gone")
        if exchange.responding:
            want = exchange.push(body, last)
        elif self._head is None:
            raise RuntimeError("http.response.body was sent before http.response.start")
        else:
            want = exchange.respond(self._head, body, last)
        self.answered = last
        self._link.carry(want)
        if last:
            self.wake()
            return
        while exchange.blocked:
            await self._change()
        if exchange.lost:
            raise ClientGone("the client is gone")


class Lifespan:
    """The application's start and end (ASGI lifespan 2.0), on the loop that `startup` is awaited on.

    An application that raises before it has answered the startup has no lifespan; that is not an error.
    """

    def __init__(self, asgi: Asgi) -> None:
        self._asgi = asgi
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._supported = False

    async def startup(self) -> None:
        """Raises Failed when the application says that it cannot start."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        answer = await self._ask("lifespan.startup")
        self._supported = answer is not None
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise Failed(f"the application did not start: {answer.get('message') or 'its startup failed'}")

    async def shutdown(self) -> None:
        """A failure is logged: there is nobody left whom it could keep from anything."""
        if not self._supported:
            return
        answer = await self._ask("lifespan.shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            log.error("the application did not end well: %s", answer.get("message") or "its shutdown failed")

    async def _ask(self, kind: str) -> Message | None:
        self._events.put_nowait({"type": kind})
        return await self._answers.get()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._asgi.state}
        try:
            await self._asgi.application(scope, self._events.get, self._answers.put)
        except Exception as error:
            if self._supported:
                log.exception("the application raised in its lifespan")
            else:
                log.debug("the application has no lifespan: %r", error)
        finally:
            self._answers.put_nowait(None)
