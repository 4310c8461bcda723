"""Fixtures for loops: every test body that takes `loop` or `backend` runs on all three."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from septet.loop import BACKENDS, ReadinessLoop, new_event_loop
from septet.pollers.ring import obstacle

Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    reason = obstacle() if request.param == "io_uring" else None
    if reason is not None:
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture
def loop(backend: str) -> Iterator[ReadinessLoop]:
    with asyncio.Runner(loop_factory=partial(new_event_loop, backend)) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, ReadinessLoop)
        asyncio.set_event_loop(loop)  # subprocesses on Python 3.11 ask the policy for it
        yield loop
    asyncio.set_event_loop(None)


@pytest.fixture
def run(loop: ReadinessLoop) -> Run:
    """Run something awaitable to its end, which it must reach within 30 s."""
    return lambda awaitable: loop.run_until_complete(asyncio.wait_for(awaitable, 30))
