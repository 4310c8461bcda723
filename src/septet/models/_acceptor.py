"""How one thread accepts clients; for the five blocking models.

`for client in Acceptor(service, ...)` gives one client after another until the order to stop. It also decides when a
thread must give up an idle client: another client waits and no thread of the server is free to accept it.
"""

from collections.abc import Iterator
from socket import socket
from time import monotonic, sleep
from typing import NamedTuple

from septet import forked
from septet.pollers import EXCLUSIVE, READABLE, Epoll, Poll
from septet.processes.resource_exhaustion import ACCEPT_PAUSE_S, reason
from septet.protocol import ServerProtocol
from septet.service import Service

STALLED_THREADS_S = 1.0
"""Threads that wait for clients, and accept none of those who are there for so long, are not free."""


class Client(NamedTuple):
    sock: socket
    session: ServerProtocol
    deferred_s: float
    """For so many seconds the kernel has kept it back already, if it is silent still and `has_been_deferred`."""


class _WaitObserved(NamedTuple):
    """That clients waited at the door, from `first` to `last`, while no more than `accepted` had been accepted."""

    accepted: int
    first: float
    last: float


class Acceptor:
    """The listeners, as one thread waits at them.

    drops_idle_clients: an idle client is let go when another one waits and no thread is free for it.
    in_main_thread: the calling thread is the main one, which is woken by signals, too.
    """

    def __init__(self, service: Service, drops_idle_clients: bool, in_main_thread: bool = True) -> None:
        self.stop = service.stop
        self.metrics = service.metrics
        self._service = service
        self._exhaustion = service.exhaustion
        self._waiting_threads = service.in_flight.waiting_threads
        self.is_free = False
        """The thread is counted among those that wait for clients."""
        self.failed_at = -ACCEPT_PAUSE_S
        self._wait_observed = _WaitObserved(0, 0.0, 0.0)
        self._listeners = {listener.fileno(): listener for listener in service.listeners if listener.fileno() >= 0}
        self._poller = Epoll()
        self._poller.add(self.stop.fileno() if in_main_thread else self.stop.order_fileno, READABLE)
        self._deferred_s: dict[int, int] = {}
        """Seconds for which the kernel keeps a silent client back, by listener."""
        for descriptor, listener in self._listeners.items():
            # One client wakes one of the processes and threads that wait here, not all.
            try:
                self._poller.add(descriptor, READABLE | EXCLUSIVE)
                self._deferred_s[descriptor] = listener.defer(service.rules.timeouts.keep_alive)
            except OSError:
                if not self.stop.ordered:  # else it has been shut already
                    raise
        self.watched_listeners = tuple(self._listeners) if drops_idle_clients else ()
        self._listener_poller = Poll()
        for descriptor in self.watched_listeners:
            self._listener_poller.add(descriptor, READABLE)
        forked.register(self)

    def close_in_child(self) -> None:
        self._poller.close()

    def clients_starve(self) -> bool:
        """A client waits whom no free thread will accept."""
        # Asked again, for the free thread may have accepted the client in between.
        return self._client_waits() and not self._waiting_threads.waiting and self._client_waits()

    def _client_waits(self) -> bool:
        return bool(self.watched_listeners) and bool(self._listener_poller.wait(0))

    def count_as_free_if_needed(self) -> bool:
        """Whether this thread, which has an idle client, is needed here; if so, it counts as free from now on."""
        now, accepted, seen = monotonic(), self._waiting_threads.accepted, self._wait_observed
        lasts = seen.accepted == accepted and now - seen.last < STALLED_THREADS_S / 2
        seen = self._wait_observed = _WaitObserved(accepted, seen.first if lasts else now, now)
        stalled_at = accepted if now - seen.first >= STALLED_THREADS_S else None
        return self._waiting_threads.volunteer(self, self._client_waits, stalled_at)

    def count_as_free(self) -> None:
        """The connection ends with what is sent now: its thread counts as free before the client can know of it."""
        if self.watched_listeners and not self.is_free:
            self._waiting_threads.wait(self)

    def count_as_busy(self) -> None:
        """The client needs its thread still."""
        if self.is_free:
            self._waiting_threads.leave(self)

    def __iter__(self) -> Iterator[Client]:
        """Clients as they come, until the order to stop."""
        try:
            while not self.stop.ordered:
                try:
                    yield from self._admit_ready()
                except MemoryError as error:
                    self.pause(f"cannot accept clients: {reason(error)}")
        finally:
            self.count_as_busy()

    def _admit_ready(self) -> Iterator[Client]:
        # Our poller does not report a client for whom a process was woken that does not accept: it is stopped.
        ready = self._listener_poller.wait(0) if self.is_free else ()
        self.count_as_free()
        for descriptor, _ in ready or self._poller.wait(None):
            if descriptor not in self._listeners:
                self.stop.drain_and_check()
            elif not self.stop.ordered:
                yield from self._admit(descriptor)

    def close(self) -> None:
        """The thread accepts no more."""
        self.count_as_busy()
        self._poller.close()

    def _admit(self, descriptor: int) -> Iterator[Client]:
        listener = self._listeners[descriptor]
        try:
            sock, address = listener.accept()
            client = Client(sock, self._service.accepted(listener, sock, address), self._deferred_s[descriptor])
        except (BlockingIOError, ConnectionError):
            return  # somebody else was quicker, or the client has left already
        except (OSError, MemoryError) as error:
            if not self.stop.ordered:  # else another thread has shut the doors
                self.pause(f"cannot accept clients: {reason(error)}")
            return
        if self.is_free:
            self._waiting_threads.accept(self)
        yield client

    def pause(self, why: str) -> None:
        """Let nobody in for a moment: something is lacking, which others may give back meanwhile."""
        self._exhaustion.report(why)
        sleep(ACCEPT_PAUSE_S)
