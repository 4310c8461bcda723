"""Threads of a WSGI application that use what belongs to one call of it: `write`, `early_hints`, `wsgi.input`.

PEP 3333 ties these to the call, and frameworks use them from other threads all the same. Such a thread may be in the
midst of one when the application returns. Then what it sends must not mix with the end of the answer, nor what it reads
be the connection's next request.
"""

import logging
from threading import Condition, RLock, get_ident
from time import monotonic

from septet import forked
from septet.exchange import Delivery

log = logging.getLogger("septet")

PATIENCE_S = 2.0
"""Seconds for which the end of an answer waits for another thread that is still sending some of it, or reading the
request's body; then the answer is broken off: the connection is cut, or the stream of HTTP/2 reset.
"""
INTERRUPT_S = 0.05
"""While such a thread reads, it is interrupted this often, in seconds."""


class OtherThreads:
    """Which threads are inside `write`, `early_hints` or `wsgi.input` of one call."""

    __slots__ = ("_inside", "changed", "given_up", "sending")

    def __init__(self) -> None:
        self.changed = Condition()
        """Its lock is held while a thread enters or leaves."""
        self.sending = RLock()
        """Held by the thread that sends: of two that do, each sends a whole part."""
        self.given_up = False
        """True once the end of the answer has waited for PATIENCE_S: a thread that has its turn later sends nothing."""
        self._inside: list[tuple[int, bool]] = []
        """(thread, whether it reads)."""

    def enter(self, reads: bool) -> None:
        self._inside.append((get_ident(), reads))

    def leave(self, reads: bool) -> None:
        with self.changed:
            self._inside.remove((get_ident(), reads))
            self.changed.notify_all()

    def await_senders(self, delivery: Delivery) -> None:
        """Block until no other thread is sending, for PATIENCE_S at most."""
        self._await(delivery, False)

    def await_all(self, delivery: Delivery) -> None:
        """Block until no other thread is inside, for PATIENCE_S at most. Those that read are interrupted."""
        self._await(delivery, True)

    def _await(self, delivery: Delivery, readers: bool) -> None:
        if forked.by_application:  # the other threads, and the connection, are the parent's
            return
        me, until = get_ident(), monotonic() + PATIENCE_S
        with self.changed:
            while others := [reads for thread, reads in self._inside if thread != me and (readers or not reads)]:
                left_s = until - monotonic()
                if left_s <= 0:
                    log.error("an answer is broken off: another thread of the application has not ceased to use it")
                    self.given_up = True
                    delivery.break_off()
                    return
                if any(others):
                    delivery.interrupt_reading()
                self.changed.wait(min(left_s, INTERRUPT_S))
