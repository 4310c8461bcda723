"""Many clients on one thread: what poll, epoll and io_uring share.

A loop watches the listeners and every connection, and calls their links straight from its poller. A WSGI application
runs on the loop's thread, or with `--threads` in a pool; an ASGI application runs as a task for each request.
"""

import logging
from asyncio import Task
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from socket import socket
from typing import Any

from septet.apps.asgi import Asgi, Cycle, Lifespan
from septet.apps.site import Called
from septet.http.states import CLOSE, RUN, Want
from septet.listener import Listener
from septet.loop import ReadinessLoop
from septet.models._carry import release, take_turn
from septet.models._link import Link
from septet.models._service import Service
from septet.pollers import EXCLUSIVE, READABLE
from septet.session import Session

log = logging.getLogger("septet")

ACCEPT_BATCH = 64
"""Clients taken in at one event where nobody shares the listener; where somebody does it is one, as in nginx."""

TURNS_AT_ONCE = 16
"""Of a client that sends its requests in one piece; then the others come first."""

ACCEPT_PAUSE_S = 0.5
"""After accept(2) failed for want of descriptors or memory."""


class Connection(Link):
    """A client of a reactor."""

    __slots__ = ("_busy", "_reactor", "_task", "_turns")

    def __init__(self, reactor: "Reactor", sock: socket, session: Session) -> None:
        super().__init__(reactor.loop, sock, session)
        self._reactor = reactor
        self._busy = False
        """A thread of the pool has the session; nobody else may touch it."""
        self._task: Task[None] | None = None
        self._turns = 0
        """Given at this event; one more than the limit: the next one is due when the others have had theirs."""

    def turn(self, session: Session) -> Want | None:
        if self.cycle is not None and not self.cycle.answered:
            return None  # the turn that it has goes on
        reactor = self._reactor
        target = reactor.only or reactor.site.find(session)
        if isinstance(target, Asgi):
            cycle = self.cycle = Cycle(target, session, self, self.loop)
            self._task = self.loop.create_task(reactor.attended(cycle))
            return None
        if reactor.pool is None:
            if self._turns < TURNS_AT_ONCE:
                self._turns += 1
                return take_turn(target, session)
            if self._turns == TURNS_AT_ONCE:
                self._turns += 1
                self.loop.call_soon(self._go_on)
            return None
        self._busy = True
        reactor.in_pool(target, session, self._resume)
        return None

    def ready(self, mask: int) -> None:
        if self._busy:
            self._watch(0)  # what it sends can wait for the pool's thread to give the session back
        else:
            self.begin_event()
            super().ready(mask)

    def begin_event(self) -> None:
        if self._turns <= TURNS_AT_ONCE:
            self._turns = 0

    def _go_on(self) -> None:
        """Others have had their turn meanwhile."""
        self._turns = 0
        if self.session.want is RUN:
            self.carry(RUN)

    def _resume(self, want: Want) -> None:
        self._busy = False
        if self._reactor.stopping:
            self.session.stop()
        self.carry(want)

    def check_deadline(self, now: float) -> None:
        if not self._busy:
            super().check_deadline(now)

    def stop(self) -> None:
        """End when nothing is in flight any more: now, or after the answer."""
        if not self._busy and self.session.stop() is CLOSE:
            self.attend(CLOSE)

    def cut(self) -> None:
        """End now."""
        if not self._busy:
            self.carry(self.session.lose())

    def end(self) -> None:
        release(self.session)
        self.sock.close()
        self._reactor.forget(self)


class Reactor:
    """Serves on one loop until the order to stop. Belongs to the thread that calls `run`."""

    connection: type[Connection] = Connection

    def __init__(self, service: Service, loop: ReadinessLoop) -> None:
        self.service = service.spooling()
        self.site = service.site
        self.only = None if self.site.directories else self.site.application
        self.loop = loop
        self.pool = ThreadPoolExecutor(service.threads, "septet") if service.threads else None
        self.stopping = False
        self._ended = False
        self._connections: set[Connection] = set()
        self._cycles: set[Cycle] = set()
        self._batch = 1 if (service.workers or 1) > 1 else ACCEPT_BATCH

    def run(self) -> None:
        """Let clients in, until the order to stop has come and what was in flight is answered. Raises Failed."""
        loop, service = self.loop, self.service
        lifespan = Lifespan(self.site.asgi) if self.site.asgi else None
        try:
            if lifespan:
                loop.run_until_complete(lifespan.startup())
            for listener in service.listeners:
                self.open(listener)
            loop.watch(service.stop.fileno(), READABLE, self._stop)
            self._look_round()
            service.ready(1)
            loop.run_forever()
            self._ended = True
            if lifespan:
                loop.run_until_complete(lifespan.shutdown())
            loop.run_until_complete(loop.wind_up())
        finally:
            self._close()

    # Clients

    def open(self, listener: Listener) -> None:
        """Let clients in at a listener."""
        self.loop.watch(listener.fileno(), READABLE | EXCLUSIVE, partial(self._accept, listener))

    def shut(self, listener: Listener) -> None:
        self.loop.unwatch(listener.fileno())

    def _accept(self, listener: Listener, mask: int) -> None:
        for _ in range(self._batch):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # it has left already
            except OSError as error:
                self.pause(listener, error)
                return
            self.admit(listener, sock, address)

    def admit(self, listener: Listener, sock: socket, address: tuple[str, int] | None) -> None:
        connection = self.connection(self, sock, Session(self.service.rules, address, listener.server))
        self._connections.add(connection)
        connection.attend(connection.session.want)

    def pause(self, listener: Listener, error: OSError) -> None:
        """Accepting failed for want of descriptors or memory: those who are in may finish, the others wait."""
        log.error("cannot accept clients for now: %s", error.strerror)
        self.shut(listener)
        self.loop.call_later(ACCEPT_PAUSE_S, self._reopen, listener)

    def _reopen(self, listener: Listener) -> None:
        if not self.stopping:
            self.open(listener)

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._end_if_done()

    def _look_round(self) -> None:
        """End what is late. One look at everybody now and then is cheaper than a timer for each."""
        timeouts = self.service.rules.timeouts
        shortest = min(timeouts.keep_alive, timeouts.header, timeouts.body, timeouts.write)
        self.loop.call_later(min(1.0, shortest / 4), self._look_round)
        now = self.loop.time()
        for connection in list(self._connections):
            connection.check_deadline(now)

    # Where the application runs

    async def attended(self, cycle: Cycle) -> None:
        """A cycle, waited for at the end."""
        self._cycles.add(cycle)
        try:
            await cycle.run()
        finally:
            self._cycles.discard(cycle)
            if self.stopping:
                self._end_if_done()

    def in_pool(self, target: Called, session: Session, resume: Any) -> None:
        """A turn in a thread of the pool; `resume(want)` is called on the loop when it is over."""
        assert self.pool is not None
        self.pool.submit(take_turn, target, session).add_done_callback(partial(self._back_from_pool, resume))

    def _back_from_pool(self, resume: Any, turn: "Future[Want]") -> None:
        try:
            self.loop.call_soon_threadsafe(resume, turn.result())
        except RuntimeError:
            pass  # the loop was closed over this turn: its time was up

    # The end

    def _stop(self, mask: int) -> None:
        if not self.service.stop.heard():
            return
        self.loop.unwatch(self.service.stop.fileno())
        self.stopping = True
        for listener in self.service.listeners:
            self.shut(listener)
        self.service.shut_doors()
        for connection in list(self._connections):
            connection.stop()
        self.loop.call_later(self.service.graceful_timeout, self._cut)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self.stopping and not (self._ended or self._connections or self._cycles):
            self.loop.stop()

    def _cut(self) -> None:
        self.service.stop.say_time_is_up()
        for connection in list(self._connections):
            connection.cut()
        self.loop.stop()

    def _close(self) -> None:
        if self.pool:
            self.pool.shutdown(wait=False, cancel_futures=True)
        self.loop.close()
