"""An exception that comes between any two steps of watching a listener is repaired, and clients are accepted again; one
that comes while a client is accepted cuts that client, or costs nothing.

Another thread may raise one in the loop's thread at any call (PyThreadState_SetAsyncExc). Here a profile function does.
"""

import ctypes
import gc
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from threading import get_ident
from types import SimpleNamespace
from typing import Any, cast

import pytest

from septet import server
from septet.loop import EpollLoop, PollLoop, UringLoop
from septet.models import io_uring
from septet.models._reactor import Reactor
from septet.models.io_uring import RingReactor
from septet.net import listener as listener_module
from septet.net.listener import Listener
from septet.pollers import READABLE
from septet.pollers._interruption import kept_from_beginning
from septet.pollers.ring import MORE
from septet.processes.orders import Stop
from septet.service import Service
from septet.settings.config import Config
from support import apps_wsgi
from support.models import io_uring_refusal
from support.struck import Struck, struck_at


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


def test_a_client_is_served_or_cut_whatever_interrupts_its_accepting(reactor: Reactor) -> None:
    """Cut at once, though the exception refers to what it has interrupted, and is kept, as by a handler of the log."""
    listener = reactor.service.listeners[0]
    kept: list[BaseException] = []

    def accept() -> None:
        try:
            _accept_one(reactor, listener)
        except BaseException as error:
            kept.append(error)
            raise

    gc.disable()
    try:
        for number in count():
            with socket.create_connection(listener.server) as client:
                struck = struck_at(number, accept, real=True)
                if not (reactor._connections or _waits(listener)):
                    assert _ended(client), f"neither served nor cut after a strike at call {number}"
                for connection in list(reactor._connections):
                    connection.cut()
            reactor.loop.call_soon(reactor.loop.stop)
            reactor.loop.run_forever()
            if not struck:
                break
    finally:
        gc.enable()
    assert number > 10


def _accept_one(reactor: Reactor, listener: Listener) -> None:
    if isinstance(reactor, RingReactor):
        for descriptor, _ in iter(listener.sock._accept, None):  # type: ignore[attr-defined]  # noqa: B007
            break
        callback = partial(reactor._accepted, listener)
        try:
            callback(descriptor, MORE, b"")
        except Struck as error:
            if kept_from_beginning(callback, error):  # as the ring does
                callback(descriptor, MORE, b"")
            raise
    else:
        reactor._accept(listener, READABLE)


def _waits(listener: Listener) -> bool:
    """True if the client was not accepted yet; it is now, and let go."""
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _ended(client: socket.socket) -> bool:
    client.settimeout(5.0)
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


_strike = ctypes.PyDLL(None).PyThreadState_SetAsyncExc
_strike.argtypes = ctypes.c_ulong, ctypes.py_object, ctypes.py_object


def struck_after(next_call: type) -> property:
    """An attribute that is read as an argument of a call: in it comes an exception that another thread raises, which no
    frame of a handler tells from the call's own.
    """
    return property(partial(cast(Callable[..., Any], _strike), get_ident(), next_call))


@pytest.mark.parametrize("kind", [Struck, MemoryError])
def test_a_descriptor_is_closed_once(
    kind: type[BaseException], reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception of another thread comes when the socket object has the descriptor, and has closed it: its number
    may be that of another file by now.
    """
    ours, theirs = socket.socketpair()
    number = ours.detach()
    closed: list[int] = []
    module = io_uring if isinstance(reactor, RingReactor) else listener_module
    monkeypatch.setattr(module, "os", SimpleNamespace(close=closed.append, strerror=os.strerror))
    struck = type("StruckListener", (Listener,), {"family": struck_after(kind)})
    listener = struck.__new__(struck)
    with theirs:
        if isinstance(reactor, RingReactor):
            reactor._accepted(listener, number, MORE, b"")
        else:
            listener._accepted = iter([(number, ("127.0.0.1", 1))])
            with pytest.raises(kind):
                listener.accept()
        assert _ended(theirs)
    assert closed == []
