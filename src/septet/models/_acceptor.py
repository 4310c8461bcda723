"""How one thread accepts clients; for the blocking models.

`for client in Acceptor(service, ...)` gives one client after another until the order to stop. The acceptor also answers
the question that a thread with an idle client asks: is another client waiting, and no thread free to accept it? Then
the idle connection must be closed. Which threads are free is counted over all processes (`in_flight.WaitingThreads`).
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
"""Seconds. If clients wait and the threads that count as free accept none for this long, these are taken for stalled,
and a thread with an idle client closes that connection in order to accept.
"""


class Client(NamedTuple):
    """An accepted client, for the thread that serves it."""

    acceptor: "Acceptor"
    sock: socket
    session: ServerProtocol
    deferred_s: float
    """Seconds for which the kernel may already have held the connection back (TCP_DEFER_ACCEPT). They are subtracted
    from the time that the client has to send its first bytes, but only if the kernel did hold the connection back
    (`has_been_deferred`).
    """


class _WaitObserved(NamedTuple):
    """A period in which clients waited to be accepted and none was accepted. `first` and `last`: when this was first
    and last seen, in seconds on the clock of `monotonic`. `accepted`: number of clients accepted before, unchanged in
    the period.
    """

    accepted: int
    first: float
    last: float


class Acceptor:
    """Accepts clients for one thread, at all listeners. Iterating over it gives one client after another.

    drops_idle_clients: True if a thread must close an idle client's connection when another client waits and no thread
    is free for it. in_main_thread: True if the calling thread is the main one, which is also woken by signals.
    """

    def __init__(self, service: Service, drops_idle_clients: bool, in_main_thread: bool = True) -> None:
        self.stop = service.stop
        self.metrics = service.metrics
        self.service = service
        self._exhaustion = service.exhaustion
        self._waiting_threads = service.in_flight.waiting_threads
        self.is_free = False
        """True if the thread is counted among those that wait for clients; only `WaitingThreads` sets it."""
        self.failed_at = -ACCEPT_PAUSE_S
        """When an exception last ended the thread's loop, which accepts and serves clients, in seconds on the clock of
        `monotonic`.
        """
        self._wait_observed = _WaitObserved(0, 0.0, 0.0)
        self._listeners = {listener.fileno(): listener for listener in service.listeners if listener.fileno() >= 0}
        self._poller = Epoll()
        self._poller.add(self.stop.fileno() if in_main_thread else self.stop.order_fileno, READABLE)
        self._deferred_s: dict[int, int] = {}
        """Seconds for which the kernel holds back a client that sends nothing, by the listener's descriptor."""
        for descriptor, listener in self._listeners.items():
            # EXCLUSIVE: one client wakes one of the processes and threads that wait here, not all of them.
            try:
                self._poller.add(descriptor, READABLE | EXCLUSIVE)
                timeouts = service.rules.timeouts
                first = timeouts.keep_alive if listener.certificates is None else timeouts.handshake
                self._deferred_s[descriptor] = listener.defer(first)
            except OSError:
                if not self.stop.ordered:  # else another thread has closed the listener already
                    raise
        self.watched_listeners = tuple(self._listeners) if drops_idle_clients else ()
        self._listener_poller = Poll()
        for descriptor in self.watched_listeners:
            self._listener_poller.add(descriptor, READABLE)
        forked.register(self)

    def close_in_child(self) -> None:
        self._poller.close()

    def clients_starve(self) -> bool:
        """True if a client waits to be accepted and no thread is free to accept it."""
        # Looked at twice, because a free thread may have accepted the client between the first look and the count.
        return self.client_waits() and not self._waiting_threads.waiting and self.client_waits()

    def client_waits(self) -> bool:
        return bool(self.watched_listeners) and bool(self._listener_poller.wait(0))

    def count_as_free_if_needed(self) -> bool:
        """Called by a thread with an idle client. Returns True if the thread is needed to accept another client: then
        it counts as free from now on, and must close the idle client's connection."""
        now, accepted, seen = monotonic(), self._waiting_threads.accepted, self._wait_observed
        lasts = seen.accepted == accepted and now - seen.last < STALLED_THREADS_S / 2
        seen = self._wait_observed = _WaitObserved(accepted, seen.first if lasts else now, now)
        stalled_at = accepted if now - seen.first >= STALLED_THREADS_S else None
        return self._waiting_threads.volunteer(self, self.client_waits, stalled_at)

    def count_as_free(self) -> None:
        """Count this thread as free: it is about to accept. Called before the last bytes of a connection are sent, so
        that the client cannot know that its connection ends before the thread counts as free."""
        if self.watched_listeners and not self.is_free:
            self._waiting_threads.wait(self)

    def count_as_busy(self) -> None:
        """No longer count this thread as free: it goes on with its client."""
        if self.is_free:
            self._waiting_threads.leave(self)

    def __iter__(self) -> Iterator[Client]:
        """Yield clients, in the order in which they are accepted, until the order to stop."""
        try:
            while not self.stop.ordered:
                try:
                    yield from self._accept_ready()
                except MemoryError as error:
                    self.pause(f"cannot accept clients: {reason(error)}")
            if self.stop.draining:
                yield from self._accept_last()
        finally:
            self.count_as_busy()

    def _accept_ready(self) -> Iterator[Client]:
        # The kernel may have woken a process for this client that is stopped and does not accept it. Then our epoll
        # instance does not report the client, but poll(2) does.
        ready = self._listener_poller.wait(0) if self.is_free else ()
        self.count_as_free()
        for descriptor, _ in ready or self._poller.wait(None):
            if descriptor not in self._listeners:
                self.stop.drain_and_check()
            elif not self.stop.ordered:
                yield from self._accept(descriptor)

    def _accept_last(self) -> Iterator[Client]:
        """Accept once more at each listener after the order to drain has come: this process has a successor, and ends
        when its clients are served. The kernel may have woken only this thread for a client that has connected
        (EPOLLEXCLUSIVE); left alone, that client would wait until the next one wakes a process that still accepts.
        """
        for descriptor in self._listeners:
            yield from self._accept(descriptor)

    def close(self) -> None:
        """Accept no more clients: no longer count this thread as free, and close its epoll instance."""
        self.count_as_busy()
        self._poller.close()

    def _accept(self, descriptor: int) -> Iterator[Client]:
        listener = self._listeners[descriptor]
        try:
            sock, address = listener.accept()
            try:
                client = self.client_of(descriptor, sock, address)
            except BaseException:
                sock.close()  # at once: what was made of it may refer to itself
                raise
        except (BlockingIOError, ConnectionError):
            return  # another thread has accepted the client, or the client has left
        except (OSError, MemoryError) as error:
            if not self.stop.ordered:  # else another thread has closed the listeners
                self.pause(f"cannot accept clients: {reason(error)}")
            return
        if self.is_free:
            self._waiting_threads.accept(self)
        yield client

    def client_of(self, descriptor: int, sock: socket, address: tuple[str, int] | None) -> Client:
        """Return the client that was accepted at the listener of this descriptor, with a new session."""
        session = self.service.accepted(self._listeners[descriptor], sock, address)
        return Client(self, sock, session, self._deferred_s[descriptor])

    def pause(self, why: str, accepted: bool = False) -> None:
        """Log `why`, and sleep for ACCEPT_PAUSE_S: a resource is exhausted, and other threads may give some of it
        back. accepted: True if a client was accepted for which it lacked, and is cut."""
        waiting = "clients wait until it can be done again"
        self._exhaustion.report(why, f"the connection is cut, and other {waiting}" if accepted else waiting)
        sleep(ACCEPT_PAUSE_S)
