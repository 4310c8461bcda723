"""The loop under an application's tasks: what they raise ends the work that the loop was started for in no case."""

import asyncio
import errno
from collections.abc import Iterator
from typing import Any

import pytest

from septet.loop import BACKENDS, ReadinessLoop, new_event_loop
from septet.models._application_loop import run_through
from septet.pollers.ring import obstacle


@pytest.fixture(params=BACKENDS)
def loop(request: pytest.FixtureRequest) -> Iterator[ReadinessLoop]:
    if request.param == "io_uring" and (reason := obstacle()) is not None:
        pytest.skip(reason)
    loop = new_event_loop(request.param)
    yield loop
    loop.close()


def interrupt() -> None:
    raise KeyboardInterrupt("deliberate")


def test_a_callback_that_raises_in_the_turn_in_which_the_work_is_done(loop: ReadinessLoop) -> None:
    """It used to be taken for what the work has raised, and ended a server with status 130 at its stop."""

    async def work() -> None:
        asyncio.get_running_loop().call_soon(interrupt)

    run_through(loop, work())


def test_so_does_one_before_the_work_fails(loop: ReadinessLoop) -> None:
    async def work() -> None:
        asyncio.get_running_loop().call_soon(interrupt)
        raise OSError("the work's own")

    with pytest.raises(OSError, match="the work's own"):
        run_through(loop, work())


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_the_work_itself_raises_comes_out(loop: ReadinessLoop, kind: type[BaseException]) -> None:
    async def work() -> None:
        raise kind("the work's own")

    with pytest.raises(kind, match="the work's own"):
        run_through(loop, work())


class Closed(SystemExit, ValueError):
    """What select.epoll raises when it is closed, by its look."""


class BadDescriptor(OSError, KeyboardInterrupt):
    pass


@pytest.mark.parametrize(
    "error", [Closed("it is closed"), BadDescriptor(errno.EBADF, "bad")], ids=lambda each: type(each).__name__
)
def test_what_the_application_raises_is_no_end_of_the_loop(loop: ReadinessLoop, error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def work() -> None:
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(0.001)

    run_through(loop, work())


class Lacking:
    """A poller's `wait` that fails twice for want of memory, as system calls may."""

    def __init__(self, loop: ReadinessLoop, error: BaseException) -> None:
        interest: Any = loop._interest
        self._wait = interest.wait
        self._error = error
        self.left = 2
        interest.wait = self

    def __call__(self, timeout_s: float | None) -> Any:
        if self.left and timeout_s:
            self.left -= 1
            raise self._error
        return self._wait(timeout_s)


@pytest.mark.parametrize("error", [OSError(errno.ENOMEM, "deliberate"), MemoryError()])
def test_shortage_is_told_once_and_is_no_fault_of_the_application(
    loop: ReadinessLoop, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        await asyncio.sleep(0.001)  # from which on the loop's own first wait is behind it
        lacking = Lacking(loop, error)
        while lacking.left:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.001)

    run_through(loop, work())
    assert caplog.messages == ["The event loop lacks memory, and goes on"]
