"""What a model is given to serve: the listeners, the application, the rules, and when to stop."""

import logging
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from tempfile import SpooledTemporaryFile, gettempdir
from threading import current_thread, main_thread
from types import FrameType
from typing import NoReturn

from septet.apps.site import Site
from septet.listener import Listener
from septet.models._figures import Figures
from septet.models._in_flight import InFlight
from septet.models._shortage import Shortage
from septet.models._signals import log_signals_without_meaning
from septet.pollers import READABLE, Poll
from septet.rules import Rules

SPOOL_BYTES = 1 << 20
"""A body that is collected stays in memory up to this size and goes to a temporary file beyond it (nginx and waitress
do the same at 16 KiB and 512 KiB)."""


CUT_MARGIN_S = 0.25
"""What is left for a model to end by itself when its time is up, before the process is ended over it."""

log = logging.getLogger("septet")


class Stop:
    """The order to stop: a descriptor that becomes readable, so that anything that waits can wait for it too.

    Once the order has come it stays readable, for children as well. Before that it may become readable for a moment at
    any signal: `heard` tells the two apart. Without that a signal that arrives just before its process begins to wait
    would be noticed only when the wait ends (signal.set_wakeup_fd in Python's documentation). For one process; a forked
    child calls `inherit`, or makes its own.
    """

    def __init__(self) -> None:
        self._order = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._signals, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._either = select.epoll()
        for descriptor in (self._order, self._signals):
            self._either.register(descriptor, select.EPOLLIN)
        self._descriptor = self._either.fileno()
        self.ordered = False
        self.at_once: Callable[[], None] | None = None
        """Called with the order, in the main thread, in the midst of whatever that does."""
        self._grace = 0.0
        self._said = False

    def fileno(self) -> int:
        return self._descriptor

    @property
    def order_fileno(self) -> int:
        """Readable once the order has come, and not before: for threads, where no signal arrives.

        `fileno` is an epoll(7) itself, and the kernel lets no more than 500 others wait for one.
        """
        return self._order

    def inherit(self) -> None:
        """In a forked child: the order is the parent's, its signals are not ours."""
        self._descriptor = self._order

    def heard(self) -> bool:
        """Whether the descriptor is readable because of the order; if not, it is made silent again."""
        if self._descriptor == self._order:
            return True
        # In the main thread alone: it runs the handlers, and must not sleep on because another has taken what woke it.
        if not self.ordered and current_thread() is main_thread():
            with suppress(BlockingIOError):
                os.read(self._signals, 4096)
        return self.ordered

    def wait(self) -> None:
        """Until the order comes. For the main thread, where the signals arrive."""
        poller = Poll()
        poller.add(self._descriptor, READABLE)
        while not self.ordered:
            poller.wait(None)
            self.heard()

    def order(self) -> None:
        """Stop. May be called in a signal handler."""
        self.ordered = True
        os.eventfd_write(self._order, 1)
        if self.at_once:
            self.at_once()
        if self._grace:
            signal.setitimer(signal.ITIMER_REAL, self._grace)

    def on_signals(self, on_second: Callable[[], NoReturn]) -> None:
        """TERM and INT give the order; a second one calls `on_second`. For the main thread."""

        def handle(number: int, frame: FrameType | None) -> None:
            if self.ordered:
                on_second()
            self.order()

        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)
        log_signals_without_meaning(self.order)

    def on_term(self) -> None:
        """TERM gives the order, once or often: for a worker, whose supervisor decides what a second signal means."""
        signal.signal(signal.SIGTERM, lambda number, frame: self.order())

    def end_after(self, graceful_timeout: float) -> None:
        """End this process if, so many seconds after the order, it still runs: requests in flight are cut.

        A model that can cut its connections by itself does so before. For the main thread.
        """
        self._grace = graceful_timeout + CUT_MARGIN_S
        signal.signal(signal.SIGALRM, self._end)

    def _end(self, number: int, frame: FrameType | None) -> NoReturn:
        self.say_time_is_up()
        logging.shutdown()
        os._exit(0)

    def say_time_is_up(self) -> None:
        """Log, once, that requests in flight are cut."""
        if not self._said:
            self._said = True
            log.warning("requests in flight are cut: the time for a graceful stop is up")


@dataclass(slots=True, frozen=True, eq=False)
class Service:
    listeners: tuple[Listener, ...]
    site: Site
    rules: Rules
    stop: Stop
    ready: Callable[[int], None]
    """To be called once, with the number of processes that serve, when clients are about to be let in."""
    threads: int | None = None
    workers: int | None = None
    graceful_timeout: float = 30.0
    in_flight: InFlight = field(default_factory=InFlight)
    shortage: Shortage = field(default_factory=Shortage)
    figures: Figures | None = None
    context: Context = field(default_factory=copy_context)
    """What the application's modules have set when they were imported; each answer of WSGI runs in a copy."""

    def shut_doors(self) -> None:
        """Let nobody in any more: whoever comes from now on is refused, rather than kept waiting for nothing."""
        for listener in self.listeners:
            listener.shut()

    def spooling(self) -> "Service":
        """The same, for a model in which the application must not wait for a request's body."""
        if not self.site.called:
            return self
        with suppress(OSError):  # found now, while there are descriptors to try directories with
            gettempdir()
        lacking = partial(Shortage().tell, meanwhile="it is answered 500")
        return replace(self, rules=replace(self.rules, spool=_spool, lacking=lacking))


def _spool() -> SpooledTemporaryFile[bytes]:
    return SpooledTemporaryFile(SPOOL_BYTES)
