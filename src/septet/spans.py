"""The span log: for each request, when it began and ended, and in which thread the application ran for it.

It is off unless `--span-log` is given. Then an `Observer` records the beginning and the end of requests, and a wrapper
around the application records its *turns*: the intervals in which it runs. Under an event loop a request has many
turns, one for each time that its coroutine is resumed, and a WebSocket has them until it ends. The two kinds of line
are not joined here; the reader of the log does that by client and time (see
`lab.trace.requests`). Instants are nanoseconds of CLOCK_MONOTONIC, which kernel traces can use as well. Each line of
JSON is one write(2), so threads and processes may share the file. `version` is that of HTTP:

    {"request": "GET /guestbook", "version": "1.1", "client": ["127.0.0.1", 40112], "status": 200, "accepted": 80950,
     "began": 81203, "ended": 95120}
    {"turns": [[81900, 86000], [91100, 94000]], "cpu": 5400, "client": ["127.0.0.1", 40112], "process": 7, "thread": 7,
     "interface": "wsgi"}

(each on one line). `accepted` is when the server had accepted the connection, over HTTP/2 null; `cpu` is the CPU time
of the thread in these turns.
"""

import json
import logging
import os
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from threading import get_native_id
from time import monotonic_ns, thread_time_ns
from types import GeneratorType, coroutine
from typing import Any

from septet import forked
from septet.errors import Failed
from septet.protocol import ServerExchange
from septet.streams import Sink

log = logging.getLogger("septet")

Instant = tuple[int, int]
"""(time, CPU time of the thread that read the clocks), both in nanoseconds; the time is that of CLOCK_MONOTONIC."""


class Turns(list[tuple[int, int]]):
    """(begin, end) of each interval in which the application ran for one request, in nanoseconds of CLOCK_MONOTONIC."""

    cpu_ns = 0
    """CPU time that the thread has used in all intervals of this list, in nanoseconds."""

    def began(self) -> Instant:
        """Called when an interval begins in which the application runs. Returns the instant that the caller must pass
        to `ended`, in the same thread.
        """
        return monotonic_ns(), thread_time_ns()

    def ended(self, began: Instant) -> None:
        self.cpu_ns += thread_time_ns() - began[1]
        self.append((began[0], monotonic_ns()))

    def clear(self) -> None:
        super().clear()
        self.cpu_ns = 0


MOST_TURNS = 500
"""Most intervals (turns) in one line of the log, about 20 KB, which one write(2) to a pipe or a file takes."""


def _write_nothing(**fields: Any) -> None:
    """Takes the place of `SpanLog._write` in a child that the application has forked."""


class SpanLog:
    """Writes the span log: as an `Observer` it records requests, and `around` wraps an application so that its turns,
    the intervals in which it runs, are recorded. Any thread may use it, and processes forked later may, too.
    """

    def __init__(self, descriptor: int) -> None:
        self._sink = Sink(descriptor, "the span log", log.error)
        self._descriptor = descriptor
        forked.register(self)

    def close_in_child(self) -> None:
        """Called in a child that the application has forked: write nothing from now on, as `access_log` does,
        and do not keep the file.
        """
        self._write = _write_nothing  # type: ignore[method-assign]
        os.close(self._descriptor)

    @classmethod
    def open(cls, path: str) -> "SpanLog":
        """Open the span log at `path`. Raises Failed if it cannot be written."""
        try:
            return cls(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644))
        except OSError as error:
            raise Failed(f"cannot write the span log {path}: {error.strerror}") from error

    def began(self, exchange: ServerExchange) -> None:
        exchange.observer_state = monotonic_ns()

    def ended(self, exchange: ServerExchange) -> None:
        began, exchange.observer_state = exchange.observer_state, None
        if began is None:
            return  # an answer without a valid request
        request = exchange.request
        self._write(
            request=f"{request.method} {request.target.decode('latin-1')}",
            version=request.version,
            client=exchange.client,
            status=exchange.status,
            accepted=getattr(exchange, "accepted_ns", None),
            began=began,
            ended=monotonic_ns(),
        )

    def closed(self, exchange: ServerExchange) -> None:
        exchange.observer_state = None

    def turns(self, client: Any, turns: Turns, interface: str) -> None:
        """Write the turns of one request: the intervals in which the application ran for it. `client` is (address,
        port), `interface` "wsgi" or "asgi". Call it in the thread in which the application ran, whose number is
        written, too.
        """
        where = {"process": os.getpid(), "thread": get_native_id(), "interface": interface}
        self._write(turns=turns, cpu=turns.cpu_ns, client=client, **where)

    def _write(self, **fields: Any) -> None:
        self._sink.write(json.dumps(fields).encode() + b"\n")

    def around(self, application: Callable[..., Any], kind: str) -> Callable[..., Any]:
        """Return the application, of the interface `kind` ("wsgi" or "asgi"), in a wrapper that logs its turns: the
        intervals in which it runs.
        """
        return self._around_asgi(application) if kind == "asgi" else self._around_wsgi(application)

    def _around_asgi(self, application: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
        """Wrap an ASGI application, to log the intervals in which it runs for a request. They are written when the
        request ends, and before that whenever there are MOST_TURNS, for WebSockets and streams that go on for days. The
        intervals of the application's lifespan are not logged.
        """

        async def traced(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] not in ("http", "websocket"):
                return await application(scope, receive, send)  # type: ignore[no-any-return]
            turns = Turns()

            def write() -> None:
                self.turns(scope.get("client"), turns, "asgi")
                turns.clear()

            try:
                awaited = application(scope, receive, send)
                await _timed(awaited if hasattr(awaited, "send") else awaited.__await__(), turns, write)
            finally:
                write()
            return None

        return traced

    def _around_wsgi(self, application: Callable[..., Any]) -> Callable[..., Iterable[bytes]]:
        """Wrap a WSGI application, to log the intervals in which it runs for a request. Those of a generator are
        written when it is closed, those of other answers at once.
        """

        def traced(environ: Any, start_response: Any) -> Iterable[bytes]:
            client = environ.get("REMOTE_ADDR", ""), int(environ.get("REMOTE_PORT") or 0)
            turns = Turns()
            began = turns.began()
            try:
                answer = application(environ, start_response)
            except BaseException:
                turns.ended(began)
                self.turns(client, turns, "wsgi")
                raise
            turns.ended(began)
            if isinstance(answer, GeneratorType):
                return _TimedGenerator(answer, turns, lambda: self.turns(client, turns, "wsgi"))
            self.turns(client, turns, "wsgi")
            return answer  # type: ignore[no-any-return]

        return traced


@coroutine
def _timed(awaited: Any, turns: Turns, full: Callable[[], None]) -> Generator[Any, Any, Any]:
    """Await a coroutine, and append each interval from when it is resumed to when it waits again to `turns`. Calls
    `full` when there are MOST_TURNS.

    Everything that the coroutine yields (asyncio's futures), and that is sent or thrown into it, passes through
    unchanged.
    """
    step, value = awaited.send, None
    while True:
        began = turns.began()
        try:
            yielded = step(value)
        except StopIteration as end:
            return end.value
        finally:
            turns.ended(began)
        if len(turns) >= MOST_TURNS:
            full()
        try:
            value = yield yielded
            step = awaited.send
        except GeneratorExit:
            awaited.close()
            raise
        except BaseException as error:
            step, value = awaited.throw, error


class _TimedGenerator:
    """A WSGI application's generator in a wrapper that measures it: each step is appended to `turns`. `close`, which
    every WSGI server calls (PEP 3333), closes the generator and calls `done`.
    """

    def __init__(self, parts: Any, turns: Turns, done: Callable[[], None]) -> None:
        self._parts = parts
        self._turns = turns
        self._done = done

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        began = self._turns.began()
        try:
            return next(self._parts)  # type: ignore[no-any-return]
        finally:
            self._turns.ended(began)

    def close(self) -> None:
        try:
            self._parts.close()
        finally:
            self._done()
