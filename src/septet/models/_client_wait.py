"""Waits with poll(2) for the client of one thread, in the models that block.

A wait can end in four ways: the client is ready; its time is up; the server must stop; or another client waits to be
accepted, no thread is free for it, and this one's client has been idle for a while.

The application may use threads of its own, one that reads a request's body while another gives the answer. They take
turns in moving the session on (`turn`). A thread lets go of its turn while it waits; another one that has to wait then
does so beside it (`_sleep_beside`), and leaves to the first what the first waits for.
"""

from socket import socket
from threading import Condition, RLock, get_ident
from time import monotonic

from septet.exchange import Want
from septet.models._acceptor import Client
from septet.models._drive import expire
from septet.net.listener import has_been_deferred
from septet.pollers import READABLE, WRITABLE, Poll, Ready
from septet.protocol import EITHER, READ, WRITE, Phase, ServerProtocol

IDLE_GRACE_S = 1.0
"""Seconds. While other clients wait, a thread keeps its idle client's connection for at least this long after the last
answer, or after the client was accepted. So a client is not cut off between two requests of one piece of work, and a
new client has time to send its first request.
"""

WAITING_CLIENT_CHECK_S = 0.1
"""Seconds. While another client waits to be accepted, a thread with an idle client checks at this interval whether
another thread has accepted it. If none is free to do so, the thread closes its idle client's connection (after
IDLE_GRACE_S at the earliest).
"""
LOOKS = 5
"""How often a thread looks in that time whether another client still waits to be accepted."""

INTERRUPT_S = 0.05
"""Seconds. While two threads of the application wait for one client, one to send and one to read, the second looks at
this interval whether the first has left, and a thread of the application's own that reads, whether the answer is
complete.
"""

STOP_CHECK_S = 0.1
"""Seconds. After the order to drain (another process has taken over), a thread that waits for a client without a
request in flight checks at this interval whether the order to stop has followed.
"""


class ClientWait:
    """Waits for events of one client. In phases that may be interrupted, the wait ends also when the order to stop
    comes, and, while the client is idle, when another client needs the thread. For the thread that serves the client,
    and for threads of the application that take turns with it.
    """

    def __init__(self, client: Client) -> None:
        acceptor, self._sock, self._session, self.deferred_s = client
        self._acceptor = acceptor
        # Pollers are made at the first wait of their kind: one request on a connection needs none.
        self._client_poller: Poll | None = None
        self._idle_poller: Poll | None = None
        self._client_or_order_poller: Poll | None = None
        self._order_descriptor = -1
        self._hears_orders = True
        """False if `_client_or_order_poller` does not tell of orders."""
        self._mask = 0
        """The events that `_client_poller` watches for."""
        self._mask_with_order = READABLE
        self._drains = False
        """True once the order to drain has come: the connection ends after the answer to the client's next request, or
        when it has been idle for DRAINING_S.
        """
        self._others_wait = False
        """True if other clients wait to be accepted, and not only for a moment: see
        `_wait_for_client_while_others_wait`.
        """
        self._overdue: Phase | None = None
        """The phase whose deadline had passed when `wait` was last called after a deadline; None: none had."""
        self._took_last_input = False
        """True if the idle client had sent something when the order to stop was first seen: it has been received."""
        self._thread = get_ident()
        """The thread that serves the client."""
        self.turn = RLock()
        """Held by the thread that moves the session on: that of the client, or one of the application's own that reads
        the body of a request while the answer is given. Not held while it waits for the client.
        """
        self._has_turn = False
        """True while the thread of the client, or one that sends in its place, holds `turn`."""
        self._waits_first: int | None = None
        """The events that the thread waits for which waits for the client first, and has let go of `turn`; None: there
        is none. If it waits for what the client sends, no other thread receives: it would not be told of that.
        """
        self._moved: Condition | None = None
        """Notified when the thread that waits first has moved the session on and waits again. Made when a second
        thread waits."""
        self._only_looked = False
        """True if `wait` has returned only because another thread may have moved the session on: nothing has come."""

    @property
    def sock(self) -> socket:
        return self._sock

    @property
    def session(self) -> ServerProtocol:
        return self._session

    def wait(self) -> Want:
        """Block until the socket is ready for what the session wants, and return that want: READ means that the caller
        must receive. If the deadline has passed or the connection is to end, tell the session so, and return what it
        wants then.
        """
        session = self._session
        if self._acceptor.is_free:
            self._acceptor.count_as_busy()
        timeout = self._time_left()
        phase = session.phase
        if timeout == 0.0:  # What has come by the deadline is taken, once: a client may never cease to send.
            overdue, self._overdue = self._overdue, phase
            if overdue is phase:
                return session.stop() if phase.idle else expire(session, self._sock)
        ready: int
        if phase.idle and not self._drains:
            ready = self._wait_idle(timeout)
        elif phase.interruptible and not session.stopping:
            ready = self._wait_for_client_or_order(READABLE | WRITABLE if phase.want is EITHER else READABLE, timeout)
            if self._acceptor.stop.ordered:
                self._drains = self._acceptor.stop.draining
                return session.drain() if self._drains else session.stop()
        elif phase.idle or (phase.interruptible and (self._drains or self._acceptor.stop.draining)):
            ready = self._wait_for_client_or_stop(READABLE | WRITABLE if phase.want is EITHER else READABLE, timeout)
            if not self._acceptor.stop.draining:
                self._drains = False
                return session.stop()
        elif phase.want is EITHER:
            ready = self._wait_for_client(WRITABLE if phase.deaf else READABLE | WRITABLE, timeout)
        else:
            ready = self._wait_for_client(WRITABLE if phase.want is WRITE else 0 if phase.deaf else READABLE, timeout)
        if ready:
            self.deferred_s = 0.0
            if phase.paced:
                session.waited(monotonic())
            phase = session.phase  # another thread may have moved it on
            # EITHER: write if the socket is only writable; in all other cases, errors included, read.
            return READ if phase.want is EITHER and ready != WRITABLE else phase.want
        if self._has_turn and self._time_left() != 0.0:  # another thread may have moved it on
            self._only_looked = True
            return session.phase.want
        if phase.idle:
            return session.stop()
        return expire(session, self._sock)

    def _time_left(self) -> float | None:
        """Seconds until the session's deadline, less those for which the kernel has held the connection back; None: it
        has no deadline."""
        now = monotonic()
        deadline = self._session.deadline(now)
        return None if deadline is None else max(0.0, deadline - now - self.deferred_s)

    def _watching(self, mask: int) -> Poll:
        """Return the poller that watches the client's socket, and nothing else, for the events of `mask`."""
        poller = self._client_poller
        if poller is None:
            poller = self._client_poller = Poll()
            poller.add(self._sock.fileno(), mask)
        elif mask != self._mask:
            poller.modify(self._sock.fileno(), mask)
        self._mask = mask
        return poller

    def _wait_for_client(self, mask: int, timeout: float | None) -> int:
        """Block until the socket is ready for an event of `mask`. Returns the events; 0 if `timeout` seconds have
        passed."""
        beside = self._has_turn and self._waits_first is not None  # which uses the poller, or may
        ready = self._sleep_beside(mask, timeout) if beside else self._sleep(self._watching(mask), mask, timeout)
        return ready[0][1] if ready else 0

    def _wait_for_client_or_order(self, mask: int, timeout: float | None) -> int:
        """Block until the socket is ready for an event of `mask`, the order to stop has come, or `timeout` seconds have
        passed. Returns the socket's events; 0 if there are none."""
        if self._has_turn and self._waits_first is not None:
            return self._wait_for_client(mask, timeout)
        descriptor = self._sock.fileno()
        poller = self._client_or_order_poller
        if poller is None:
            order = self._acceptor.stop.fileno_here()  # -1 in a child of forking, in a thread of the application's own
            self._hears_orders = order >= 0
            watched = (descriptor, order) if self._hears_orders else (descriptor,)
            poller = self._client_or_order_poller = Poll.for_reading(*watched)
        if mask != self._mask_with_order:
            poller.modify(descriptor, mask)
            self._mask_with_order = mask
        if not self._hears_orders:
            timeout = STOP_CHECK_S if timeout is None else min(timeout, STOP_CHECK_S)
        while True:
            ready = dict(self._sleep(poller, mask, timeout))
            if not ready or descriptor in ready or self._acceptor.stop.drain_and_check():
                return ready.get(descriptor, 0)
            timeout = self._time_left()

    def _wait_for_client_or_stop(self, mask: int, timeout: float | None) -> int:
        """Do what `_wait_for_client` does, after the order to drain, but return 0 also soon after the order to stop has
        followed. No descriptor tells of that, since the one of the orders is readable already.
        """
        until = None if timeout is None else monotonic() + timeout
        while True:
            left = STOP_CHECK_S if until is None else min(STOP_CHECK_S, max(0.0, until - monotonic()))
            ready = self._wait_for_client(mask, left)
            over = until is not None and monotonic() >= until
            if ready or self._has_turn or over or not self._acceptor.stop.draining:
                return ready

    def _wait_idle(self, timeout: float | None) -> bool:
        """Block until the idle client has sent something (True), or its connection is to be closed (False): at its
        deadline, at the order to stop, or because another client needs this thread."""
        descriptor = self._sock.fileno()
        poller = self._idle_poller
        if poller is None:
            self._order_descriptor = self._acceptor.stop.fileno_here()  # at any signal in the main thread
            watched = descriptor, self._order_descriptor, *self._acceptor.watched_listeners
            poller = self._idle_poller = Poll.for_reading(*watched)
        while True:
            ready = {found for found, _ in poller.wait(timeout)}
            if descriptor in ready and (len(ready) == 1 or self._may_receive(ready)):
                return True
            if self._order_descriptor in ready:
                if self._acceptor.stop.drain_and_check():
                    return self._acceptor.stop.draining and self._wait_to_drain()
            elif not ready:
                if not self.deferred_s or has_been_deferred(self._sock):
                    return False
                self.deferred_s = 0.0  # under a flood of connections the kernel does not hold any back
            else:  # a client waits to be accepted
                if self._wait_for_client_while_others_wait():
                    return True
                if self._others_wait and self._may_drop_idle_client():
                    return False
            timeout = self._time_left()

    def _may_receive(self, ready: set[int]) -> bool:
        """True if what the idle client has sent is to be received now. After the order to stop that is done once, for a
        request that has come by then. A client that sends, without end, what is none, such as messages of TLS, would
        put off the end.
        """
        if self._order_descriptor not in ready or not self._acceptor.stop.drain_and_check():
            return True
        before, self._took_last_input = self._took_last_input, True
        return not before

    def _wait_to_drain(self) -> bool:
        """Wait for a request while the server drains, which means that this process has a successor and ends when its
        clients are served. True if the client has sent something, or if the protocol has to tell it of the end first;
        False if it was idle for DRAINING_S.
        """
        self._drains = True
        self.deferred_s = 0.0
        if self._session.drain() is not READ:  # the protocol tells the client first
            return True
        return bool(self._wait_for_client_or_stop(READABLE, self._time_left()))

    def _wait_for_client_while_others_wait(self) -> bool:
        """Do what `_wait_for_client` does, for WAITING_CLIENT_CHECK_S, and note in `_others_wait` whether at each look
        in that time another client waited to be accepted. If one look finds none, those who waited did so for a moment,
        because the other threads had just been done with clients of theirs.
        """
        self._others_wait = True
        for _ in range(LOOKS):
            if self._wait_for_client(READABLE, WAITING_CLIENT_CHECK_S / LOOKS):
                return True
            self._others_wait = self._others_wait and self._acceptor.client_waits()
        return False

    def _may_drop_idle_client(self) -> bool:
        """True if this idle client's connection must be closed, because another client waits and no thread is free. The
        thread then counts as free already."""
        since = self._session.since
        if (since is not None and monotonic() - since < IDLE_GRACE_S) or not self._acceptor.count_as_free_if_needed():
            return False
        if self._wait_for_client(READABLE, 0.0):  # the client has sent something meanwhile
            self._acceptor.count_as_busy()
            return False
        return True

    # Threads of the application that take turns

    def _take_turn(self) -> None:
        self.turn.acquire()
        self._has_turn = True

    def _end_turn(self) -> None:
        self._has_turn = False
        self.turn.release()

    def _sleep(self, poller: Poll, mask: int, timeout: float | None) -> Ready:
        """Wait for events, those of the client's socket in `mask` among them, and let another thread of the application
        have its turn meanwhile."""
        if not self._has_turn:
            return poller.wait(timeout)
        self._waits_first = mask
        if self._moved is not None:
            self._moved.notify_all()
        self._end_turn()
        try:
            return poller.wait(timeout)
        finally:
            try:
                self._take_turn()
            finally:  # also if another thread's exception comes here, else no other thread would ever receive
                self._waits_first = None

    def _sleep_beside(self, mask: int, timeout: float | None) -> Ready:
        """Do what `_sleep` does, for INTERRUPT_S at most, while another thread waits for the client."""
        has_turn, self._has_turn = self._has_turn, False
        timeout = INTERRUPT_S if timeout is None else min(timeout, INTERRUPT_S)
        try:
            mask = self._without_input_of_first(mask)
            if not mask:
                if self._moved is None:
                    self._moved = Condition(self.turn)
                self._moved.wait(timeout)
                return []
            poller = Poll()
            poller.add(self._sock.fileno(), mask)
            self.turn.release()
            try:
                ready = poller.wait(timeout)
            finally:
                self.turn.acquire()
            left = ((descriptor, self._without_input_of_first(found)) for descriptor, found in ready)
            return [(descriptor, found) for descriptor, found in left if found]
        finally:
            self._has_turn = has_turn

    def _without_input_of_first(self, mask: int) -> int:
        """Return the events that are left to this thread: what the client sends is for the one that waits first."""
        first = self._waits_first
        return mask if first is None or not first & READABLE else mask & WRITABLE
