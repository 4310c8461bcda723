"""The loop under an application's tasks: what they raise ends the work that the loop was started for in no case."""

import asyncio
import errno
from collections.abc import Iterator

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
