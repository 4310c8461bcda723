"""Many clients on one thread: what poll, epoll and io_uring share.

A loop watches the listeners and every connection, and calls their links straight from its poller. A WSGI application
runs on the loop's thread, or with `--threads` in a pool; an ASGI application runs as a task for each request.
"""

from asyncio import Task, current_task
from functools import partial
from socket import socket

from septet.apps._lifespan import Lifespan
from septet.apps.asgi import Asgi, Cycle
from septet.apps.wsgi import Wsgi
from septet.http.states import CLOSE, RUN, Want
from septet.listener import Listener
from septet.loop import ReadinessLoop
from septet.models._application_loop import run_through, run_until, start_application
from septet.models._carry import release, take_turn
from septet.models._figures import Figures
from septet.models._link import Link
from septet.models._pool import Pool
from septet.models._service import Service
from septet.models._shortage import ACCEPT_PAUSE_S
from septet.models._tasks import Starter
from septet.pollers import EXCLUSIVE, READABLE
from septet.session import Session

ACCEPT_BATCH = 1024
"""Clients taken in at one event where nobody shares the listener; where somebody does it is one, as in nginx."""

TURNS_AT_ONCE = 16
"""Of a client that sends its requests in one piece; then the others come first."""


class Connection(Link):
    """A client of a reactor."""

    __slots__ = ("_busy", "_reactor", "_turns")

    def __init__(self, reactor: "Reactor", sock: socket, session: Session) -> None:
        super().__init__(reactor.loop, sock, session)
        self._reactor = reactor
        self._busy = False
        """A thread of the pool has the session; nobody else may touch it."""
        if reactor.hastens:
            session.hasten = self._hasten
        self._turns = 0
        """Given at this event; one more than the limit: the next one is due when the others have had theirs."""

    def turn(self, session: Session) -> Want | None:
        if self.cycle is not None and self._is_taken(self.cycle):
            return None
        reactor = self._reactor
        target = reactor.only or reactor.site.find(session)
        if reactor.pool is not None and not isinstance(target, Asgi):
            self._busy = True
            reactor.pool.turn(target, session, self._resume)
            return None
        if self._turns < TURNS_AT_ONCE:
            self._turns += 1
            return self._begin(target, session) if isinstance(target, Asgi) else take_turn(target, session)
        if self._turns == TURNS_AT_ONCE:
            self._postpone()
        return None

    def _is_taken(self, cycle: Cycle) -> bool:
        """Whether the turn is not to be given now: the one before goes on, or its task is in the midst of a step, and
        the next is neither its part nor its context's."""
        if not cycle.answered:
            cycle.wake()
            return True
        if current_task(self.loop) is None:
            return False
        if self._turns <= TURNS_AT_ONCE:
            self._postpone()
        return True

    def _begin(self, asgi: Asgi, session: Session) -> Want | None:
        """Start a task for the request. What it sends before it first waits is carried from here on."""
        cycle = self.cycle = Cycle(session, self)
        task = self._reactor.starter.start(cycle.run(asgi))
        if task is None:
            self.cycle = None  # an idle connection holds nothing of its last request
            return session.phase.want
        self._reactor.attend(task)
        cycle.let_go()
        want = session.phase.want
        return None if want is RUN and not cycle.answered else want

    def _postpone(self) -> None:
        """The turn is due when the others have had theirs."""
        self._turns = TURNS_AT_ONCE + 1
        self.loop.call_soon(self._go_on)

    def ready(self, mask: int) -> None:
        if self._busy:
            self._watch(0)  # what it sends can wait for the pool's thread to give the session back
            return
        if self._turns <= TURNS_AT_ONCE:
            self._turns = 0
        Link.ready(self, mask)

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

    def _hasten(self) -> None:
        """Send at once. Called by the application in its turn, whatever its thread: hints are of no use after that."""
        session = self.session
        try:
            if session.output:
                session.wrote(self.sock.send(session.output))
        except BlockingIOError:
            pass
        except OSError:
            session.lose()

    def check_deadline(self, now: float) -> None:
        if not self._busy:
            super().check_deadline(now)

    def stop(self) -> None:
        """End when nothing is in flight any more: now, or after the answer."""
        if not self._busy and self.session.stop() is CLOSE:
            self.carry(CLOSE)

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

    def __init__(self, service: Service, loop: ReadinessLoop) -> None:
        self.service = service.spooling()
        self.site = service.site
        self.only = None if self.site.directories else self.site.application
        self.hastens = isinstance(self.site.application, Wsgi)
        self.loop = loop
        self.pool = Pool(loop, service.threads, service.shortage) if service.threads else None
        self.stopping = False
        self._ended = False
        self._connections: set[Connection] = set()
        self._tasks: set[Task[None]] = set()
        self.starter = Starter(loop)
        self._batch = 1 if (service.workers or 1) > 1 else ACCEPT_BATCH

    def run(self) -> None:
        """Let clients in, until the order to stop has come and what was in flight is answered. Raises Failed."""
        loop, service = self.loop, self.service
        lifespan = Lifespan(self.site.asgi) if self.site.asgi else None
        try:
            if lifespan and not start_application(loop, lifespan, service.stop):
                return
            for listener in service.listeners:
                self.open(listener)
            loop.watch(service.stop.fileno(), READABLE, self._stop)
            self._look_round()
            if service.figures:
                loop.lap()
                service.figures.begin()
                loop.call_later(service.figures.interval_s, self._tell, service.figures)
            service.ready(1)
            run_until(loop, lambda: self._ended)
            if lifespan:
                run_through(loop, lifespan.shutdown())
            run_through(loop, loop.wind_up())
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
        connection = self.connect(sock, Session(self.service.rules, address, listener.server))
        self._connections.add(connection)
        try:
            connection.attend(connection.session.want)
        except OSError as error:  # epoll has a limit of its own, fs.epoll.max_user_watches
            self.service.shortage.tell(f"cannot watch a client: {error.strerror}")
            connection.end()

    def connect(self, sock: socket, session: Session) -> Connection:
        return Connection(self, sock, session)

    def pause(self, listener: Listener, error: OSError) -> None:
        """Accepting failed for want of descriptors or memory: those who are in may finish, the others wait."""
        self.service.shortage.tell(f"cannot accept clients: {error.strerror}")
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

    def _tell(self, figures: Figures) -> None:
        self.loop.call_later(figures.interval_s, self._tell, figures)
        figures.tell(len(self._connections), self.loop.lap())

    # Where the application runs

    def attend(self, task: "Task[None]") -> None:
        """Wait for a request's task at the end; asyncio itself would not even keep it from being collected."""
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: "Task[None]") -> None:
        self._tasks.discard(task)
        if self.stopping:
            self._end_if_done()

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
        if self.stopping and not (self._ended or self._connections or self._tasks):
            self._ended = True
            self.loop.stop()

    def _cut(self) -> None:
        self.service.stop.say_time_is_up()
        for connection in list(self._connections):
            connection.cut()
        self._ended = True
        self.loop.stop()

    def _close(self) -> None:
        self.starter.close()
        if self.pool:
            self.pool.close()
        self.loop.close()
