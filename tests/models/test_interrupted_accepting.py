"""An exception that comes between any two steps of watching a listener is repaired, and clients are accepted again.

Another thread may raise one in the loop's thread at any call (PyThreadState_SetAsyncExc). Here a profile function does.
"""

from collections.abc import Iterator
from itertools import count

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
from support.struck import struck_at


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
