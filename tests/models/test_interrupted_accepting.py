"""An exception that comes between any two steps of watching a listener is repaired, and clients are accepted again.

Another thread may raise one in the loop's thread at any call (PyThreadState_SetAsyncExc). Here a profile function does.
"""

import sys
from collections.abc import Callable, Iterator
from itertools import count
from types import FrameType
from typing import Any

import pytest

from septet import server
from septet.loop import EpollLoop, PollLoop, UringLoop
from septet.models._reactor import Reactor
from septet.models.io_uring import RingReactor
from septet.processes.orders import Stop
from septet.service import Service
from septet.settings.config import Config
from support import apps_wsgi
from support.models import io_uring_refusal


class Struck(BaseException):
    pass


def struck_at(number: int, do: Callable[[], object]) -> bool:
    """Call `do`, and raise Struck in it at its `number`-th call or return. False if it has fewer."""
    events = count()

    def strike(frame: FrameType, event: str, argument: Any) -> None:
        if frame.f_code is not struck_at.__code__ and next(events) == number:
            raise Struck

    sys.setprofile(strike)
    try:
        do()
    except Struck:
        return True
    finally:
        sys.setprofile(None)
    return False


@pytest.fixture(params=["poll", "epoll", "io_uring"])
def reactor(request: pytest.FixtureRequest) -> Iterator[Reactor]:
    if request.param == "io_uring" and (reason := io_uring_refusal()):
        pytest.skip(reason)
    config = Config(model=request.param, bind=("127.0.0.1:0",))
    with server.opened(config, apps_wsgi.app) as (config, site, listeners):
        service = Service.from_config(config, site=site, listeners=listeners, stop=Stop(signals=False), ready=print)
        made: Reactor
        if request.param == "io_uring":
            made = RingReactor(service, UringLoop())
        else:
            made = Reactor(service, PollLoop() if request.param == "poll" else EpollLoop())
        yield made
        made.loop.close()


def test_a_listener_is_watched_again_whatever_interrupted_it(reactor: Reactor) -> None:
    listener = reactor.service.listeners[0]
    reactor.watch_listener(listener, 1)

    def restart() -> None:
        Reactor.stop_accepting(reactor, listener)
        reactor.watch_listener(listener, 1)

    for number in count():
        if not struck_at(number, restart):
            break
        restart()
        assert reactor.loop.unwatch(listener.fileno()), f"not watched after a strike at call {number}"
        restart()
    assert number > 10
