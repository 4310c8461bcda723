"""An ASGI application in a model that waits: to completion, on a private loop of the thread.

The loop stands over poll(2), for a single connection costs it no system call to watch, and the client is the only one
on it. A thread makes its loop at its first ASGI request and keeps it.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket

from septet.apps._lifespan import Lifespan
from septet.apps.asgi import Asgi, Cycle
from septet.http.states import RUN, Want
from septet.loop import PollLoop
from septet.models._link import Link
from septet.models._service import Service
from septet.session import Session

DEADLINE_CHECK_S = 0.25


class _Threads(threading.local):
    loop: PollLoop | None = None
    pid = 0


_threads = _Threads()


def loop_of_this_thread() -> PollLoop:
    """Made when first asked for; a forked child makes its own."""
    if _threads.loop is None or _threads.pid != os.getpid():
        _threads.loop = PollLoop()
        _threads.pid = os.getpid()
    return _threads.loop


def close_loop_of_this_thread() -> None:
    """For a thread that ends before its process does."""
    loop, _threads.loop = _threads.loop, None
    if loop is not None and _threads.pid == os.getpid():
        loop.run_until_complete(loop.wind_up())
        loop.close()


class _OneRequest(Link):
    """The client as its private loop sees it, while one request is answered."""

    __slots__ = ("_timer",)

    def turn(self, session: Session) -> Want | None:
        if self.cycle is not None and not self.cycle.answered:
            self.cycle.wake()
        return None  # the next request's turn is not ours to give

    def end(self) -> None:
        pass

    def begin(self) -> None:
        self.attend(RUN)
        self._timer = self.loop.call_later(DEADLINE_CHECK_S, self._check)

    def _check(self) -> None:
        self._timer = self.loop.call_later(DEADLINE_CHECK_S, self._check)
        self.check_deadline(self.loop.time())

    def leave(self) -> None:
        self._timer.cancel()
        self.detach()


def run_alone(asgi: Asgi, sock: socket, session: Session) -> Want:
    """Run the application for the session's request until it returns, and give what the session wants then."""
    loop = loop_of_this_thread()
    link = _OneRequest(loop, sock, session)
    cycle = link.cycle = Cycle(session, link)
    cycle.let_go()
    link.begin()
    try:
        loop.run_until_complete(cycle.run(asgi))
    finally:
        link.leave()
    return session.want


@contextmanager
def lifespan(service: Service) -> Iterator[None]:
    """The application's start and end, in the main thread of a process of a model that waits."""
    asgi = service.site.asgi
    if asgi is None:
        yield
        return
    span = Lifespan(asgi)
    loop = loop_of_this_thread()
    loop.run_until_complete(span.startup())
    try:
        yield
    finally:
        loop.run_until_complete(span.shutdown())
        close_loop_of_this_thread()
