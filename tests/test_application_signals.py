"""Whose code a signal has interrupted, which decides where the exception of the application's handler goes."""

import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType

import pytest

from septet.processes.application_signals import GuardedHandler, guard_handlers, runs_application


def calling(module: str, what: Callable[[], object]) -> Callable[[], object]:
    """A function of a module of this name that calls `what`."""
    made = ModuleType(module)
    made.__dict__["what"] = what
    exec("def call(): return what()", made.__dict__)
    return made.call  # type: ignore[no-any-return]


def asked(*modules: str) -> bool:
    """What is found if a function of the last one of these modules runs, each called by one of the module before it."""
    found: list[bool] = []
    call: Callable[[], object] = lambda: found.append(runs_application(sys._getframe(1)))  # noqa: E731
    for module in reversed(modules):
        call = calling(module, call)
    call()  # outside of them are the frames of this test, which count like those of a program that calls `septet.run`
    return found[0]


@pytest.fixture
def alarm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (("septet.models.epoll",), False),
        (("septet.models.epoll", "logging"), False),
        (("septet.cli", "click.core", "septet.server", "select"), False),
        (("septet.models.epoll", "shop.views"), True),
        (("septet.models.epoll", "shop.views", "time"), True),
        (("septet.models.epoll", "asyncio.events", "shop.views", "asyncio.queues"), True),
        (("septet.apps.wsgi", "shop.views", "septet.apps.wsgi"), True),
        (("septet.apps.wsgi", "septet.examples.guestbook.wsgi_app"), True),
        (("shop.start", "septet.embedding", "septet.loop._schedule"), False),
    ],
    ids=lambda value: " > ".join(value) if isinstance(value, tuple) else "",
)
def test_whose_code_runs(modules: tuple[str, ...], expected: bool) -> None:
    assert asked(*modules) is expected


def test_exceptions_go_to_the_application_alone(alarm: None) -> None:
    def handler(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, handler)
    guard_handlers()
    guard_handlers()
    guarded = signal.getsignal(signal.SIGALRM)
    assert isinstance(guarded, GuardedHandler)
    assert guarded.handler is handler
    signal.raise_signal(signal.SIGALRM)  # the interrupted code is no server's
    strike = calling("septet.apps.wsgi", calling("shop.views", lambda: signal.raise_signal(signal.SIGALRM)))
    with pytest.raises(TimeoutError):
        strike()
