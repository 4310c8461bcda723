"""An ASGI application on a session that is carried by hand: bytes come and go when the test says so."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from septet.apps.asgi import Asgi, Cycle
from septet.exchange import Want
from septet.protocol import RUN, WRITE
from septet.rules import Rules
from support.carrier import Watched, write_all
from support.messages import render

GET = render("GET", "/")
START = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def body(content: bytes = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


class Hand:
    """A link whose bytes go when the test says so, and the cycle on it."""

    def __init__(
        self, application: Any, data: bytes = GET, rules: Rules | None = None, extensions: Iterable[str] = ()
    ) -> None:
        self.session = Watched(rules)
        self.written = b""
        assert self.session.receive(data) is RUN
        self.cycle = Cycle(self.session, self)
        self.cycle.uncork()
        self.task = self.cycle.task = asyncio.create_task(self.cycle.run(Asgi(application, extensions)))

    def drive(self, want: Want) -> None:
        """Nothing goes by itself."""

    def write(self) -> None:
        self.written += write_all(self.session)
        self.cycle.wake()

    def receive(self, data: bytes) -> None:
        self.session.receive(data)
        self.cycle.wake()

    async def reach(self, want: Want) -> None:
        """Let the application run until its session wants this."""
        async with asyncio.timeout(10):
            while self.session.want is not want:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0)

    async def finish(self) -> bytes:
        """All that is written until the application has returned."""
        async with asyncio.timeout(10):
            while not self.task.done():
                if self.session.want is WRITE:
                    self.write()
                await asyncio.sleep(0)
        self.write()
        return self.written


def run(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


class _NeverWaiting(selectors.SelectSelector):
    turns = 0

    def select(self, timeout: float | None = None) -> Any:
        self.turns += 1
        return super().select(0)


class _LoopOfTurns(asyncio.SelectorEventLoop):
    """A loop that never waits, and for which each of its turns takes a millisecond, however long it takes."""

    def __init__(self) -> None:
        self._counted = _NeverWaiting()
        super().__init__(self._counted)

    def time(self) -> float:
        return self._counted.turns / 1000


def run_in_turns(scene: Callable[[], Awaitable[None]]) -> None:
    """Run a scene that depends on what takes longer; a busy machine changes nothing about it."""
    with asyncio.Runner(loop_factory=_LoopOfTurns) as runner:
        runner.run(scene())  # type: ignore[arg-type]


def answered(application: Any, data: bytes = GET, extensions: Iterable[str] = ()) -> bytes:
    async def scene() -> bytes:
        return await Hand(application, data, None, extensions).finish()

    return asyncio.run(scene())
