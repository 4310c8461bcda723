"""The order to stop, as a descriptor: whatever waits for something else can wait for it too."""

import _thread
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import NoReturn

from septet import forked
from septet.pollers import READABLE, Poll

CUT_MARGIN_S = 0.25
"""What is left for a model to end by itself when its time is up, before the process is ended over it."""

STARTING_GRACE_S = 0.5
"""For an application that is in the midst of its start when the order comes."""

LOG_BEFORE_EXIT_S = 0.25

log = logging.getLogger("septet")


class Stop:
    """The order to stop: a descriptor that becomes readable, so that anything that waits can wait for it too.

    Once the order has come it stays readable, for children as well. Before that it may become readable for a moment at
    any signal: `drain_and_check` tells the two apart. Without that a signal that arrives just before its process begins
    to wait would be noticed only when the wait ends (signal.set_wakeup_fd in Python's documentation).

    For one process. A child that is forked for a client makes its own with its parent's as `parent`, whose order is an
    order for the child as well. With `signals=False` signals are left to the program that the server is a part of, and
    any thread may make it.
    """

    def __init__(self, parent: "Stop | None" = None, signals: bool = True) -> None:
        self._order = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._open = [self._order]
        self._order_or_signal = select.epoll()
        self._order_or_signal.register(self._order, select.EPOLLIN)
        self._signals = -1
        self._woken_before = -1
        """The descriptor that signals woke before ours."""
        if signals:
            self._signals, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._open += [self._signals, waker]
            self._woken_before = signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
            self._order_or_signal.register(self._signals, select.EPOLLIN)
        self._parent = parent
        if parent:
            self._order_or_signal.register(parent._order, select.EPOLLIN)
        self.ordered = False
        self.on_order: Callable[[], None] | None = None
        """Called with the order, in the main thread, in the midst of whatever that does."""
        self.started = False
        """Clients have been let in; before that there is nothing for which a stop could wait."""
        self._exit_after_s: float | None = None
        self._time_is_up_logged = False
        self._closed = False
        forked.register(self)

    def fileno(self) -> int:
        return self._order_or_signal.fileno()

    @property
    def order_fileno(self) -> int:
        """Readable once the order has come, and not before: for threads, where no signal arrives.

        `fileno` is an epoll(7) itself, and the kernel lets no more than 500 others wait for one.
        """
        return self._order

    def close_in_child(self) -> None:
        """Also for a worker, whose supervisor's this is; once or often."""
        while self._open:
            os.close(self._open.pop())
        self._order_or_signal.close()

    def close(self) -> None:
        """The server has ended and its process goes on: nothing of the order is left."""
        self._closed = True
        if self._signals >= 0:
            signal.set_wakeup_fd(self._woken_before)
        self.close_in_child()

    def drain_and_check(self) -> bool:
        """Whether the descriptor is readable because of the order; if not, it is made silent again."""
        # In the main thread alone: it runs the handlers, and must not sleep on because another has taken what woke it.
        if not self.ordered and self._signals >= 0 and current_thread() is main_thread():
            with suppress(BlockingIOError):
                os.read(self._signals, 4096)
            self.check_parent()
        return self.ordered

    def check_parent(self) -> bool:
        """Whether the order has come, here or to the parent: for a child that has not waited since."""
        if self._parent is not None and not self.ordered and is_readable(self._parent._order):
            self.order()
        return self.ordered

    def wait(self) -> None:
        """Until the order comes. For the main thread, where the signals arrive."""
        while not self.ordered:
            self.wait_for_signal(None)

    def wait_for_signal(self, timeout_s: float | None) -> None:
        """Until a signal has been handled, or so many seconds. For the main thread."""
        poller = Poll()
        poller.add(self._signals if self.ordered else self.fileno(), READABLE)
        poller.wait(timeout_s)
        if self._signals >= 0:
            with suppress(BlockingIOError):
                os.read(self._signals, 4096)

    def order(self) -> None:
        """Stop. May be called in a signal handler."""
        first = not self.ordered
        self.ordered = True
        os.eventfd_write(self._order, 1)
        if self.on_order:
            self.on_order()
        if first and self._exit_after_s is not None:
            self._exit_after(self._exit_after_s if self.started else STARTING_GRACE_S)

    def on_signals(self, on_second: Callable[[], NoReturn]) -> None:
        """TERM and INT give the order; a second one calls `on_second`. For the main thread."""

        def handle(number: int, frame: FrameType | None) -> None:
            if self.ordered:
                on_second()
            self.order()

        forked.set_signal_handler(signal.SIGTERM, handle)
        forked.set_signal_handler(signal.SIGINT, handle)
        log_signals_without_meaning(self.order)

    def on_term(self) -> None:
        """TERM gives the order, once or often: for a worker, whose supervisor decides what a second signal means."""
        forked.set_signal_handler(signal.SIGTERM, lambda number, frame: self.order())

    def exit_after(self, graceful_timeout: float) -> None:
        """End this process if, so many seconds after the order, it still runs: requests in flight are cut.

        A model that can cut its connections by itself does so before.
        """
        self._exit_after_s = graceful_timeout + CUT_MARGIN_S

    def _exit_after(self, seconds: float) -> None:
        """In a thread, for a timer of the process could be set anew by the application. `_thread` starts it without a
        lock that the code may hold which the signal has interrupted."""
        try:
            _thread.start_new_thread(self._sleep_and_exit, (seconds,))
        except RuntimeError:  # the system gives no thread: then a timer must do
            signal.signal(signal.SIGALRM, lambda number, frame: os._exit(0))
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def exit_soon(self, status: int) -> None:
        """End this process, which has failed to start and says so, even if a thread of the application's goes on."""

        def end() -> NoReturn:
            time.sleep(STARTING_GRACE_S)
            os._exit(status)

        with suppress(RuntimeError):
            _thread.start_new_thread(end, ())

    def _sleep_and_exit(self, seconds: float) -> None:
        time.sleep(seconds)
        if self._closed:
            return
        # Another thread may be stuck while it logs, and holds the lock.
        words = Thread(target=self._log_before_exit, daemon=True)
        with suppress(RuntimeError):
            words.start()
            words.join(LOG_BEFORE_EXIT_S)
        os._exit(0 if self.started else 1)

    def _log_before_exit(self) -> None:
        if self.started:
            self.log_time_is_up()
        else:
            log.error("the application had not started when the order to stop came, and did not come to an end")
        logging.shutdown()

    def log_time_is_up(self) -> None:
        """Log, once, that requests in flight are cut."""
        if not self._time_is_up_logged:
            self._time_is_up_logged = True
            log.warning("requests in flight are cut: the time for a graceful stop is up")


def is_readable(descriptor: int) -> bool:
    poller = Poll()
    poller.add(descriptor, READABLE)
    return bool(poller.wait(0))


# HUP and USR1, which mean "reload" and "reopen the logs" to other servers and nothing here yet.
#
# Their default would end the process at once and cut every answer, so they are answered by a line in the log. It is a
# handler that does so and not SIG_IGN, which a program that the application executes would inherit; a child that the
# application forks gets the default back. Where the application has a handler of its own, or the signal is ignored
# (nohup), it stays so.
#

WITHOUT_MEANING = {
    signal.SIGHUP: "SIGHUP has no meaning yet, and is ignored: restart the server to load its application anew",
    signal.SIGUSR1: "SIGUSR1 has no meaning yet, and is ignored: restart the server to open its logs anew",
}

_hung_up: Callable[[], object] | None = None
"""Called when the terminal, on which standard error was, is gone: then nobody is left to stop the server."""


def log_signals_without_meaning(hung_up: Callable[[], object]) -> None:
    """For the main thread of the server, once it has loaded the application; its forks call `log_again`."""
    global _hung_up
    _hung_up = hung_up if os.isatty(2) else None
    log_again()


def log_again() -> None:
    """In a process that we have forked. The supervisor tells it when the terminal is gone."""
    for number in WITHOUT_MEANING:
        if signal.getsignal(number) is signal.SIG_DFL:
            forked.set_signal_handler(number, _handle)


def _handle(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGHUP and _hung_up and not os.isatty(2):
        _hung_up()
    else:
        _write(WITHOUT_MEANING[signal.Signals(number)])


def _write(sentence: str) -> None:
    """Log a warning, in a handler: what it interrupts may be in the midst of writing to sys.stderr, which must not be
    entered again, so the line goes to the descriptor."""
    if not log.isEnabledFor(logging.WARNING):
        return
    record = log.makeRecord(log.name, logging.WARNING, __file__, 0, sentence, (), None)
    handlers = logging.getLogger().handlers
    line = handlers[0].format(record) if handlers else sentence
    try:
        os.write(2, line.encode() + b"\n")
    except OSError:
        pass
