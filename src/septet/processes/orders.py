"""The order to stop as a descriptor, so that a thread that waits for something else can wait for it, too; and the
signals that give the order.

HUP and USR1 mean "reload" and "reopen the logs" to other servers, and nothing here yet. Their default would end the
process at once and cut every answer, so a handler logs a line instead. SIG_IGN would not do: a program that the
application executes would inherit it. A child that the application forks gets the default back. A handler that the
application has set, or a signal that is ignored (nohup), stays as it is.
"""

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
"""Seconds beyond the graceful time-out after which the process exits: until then the model may end by itself."""

STARTING_GRACE_S = 0.5
"""Seconds after the order to stop at which the process exits if the application is still starting."""

LOG_BEFORE_EXIT_S = 0.25
"""Seconds that the last line in the log may take: another thread may be stuck while it holds the lock of logging."""

log = logging.getLogger("septet")


class Stop:
    """The order to stop: `fileno()` is a descriptor that becomes readable, so that any wait can include it.

    Once the order has come the descriptor stays readable, in children as well. Before that it may become readable for a
    moment at any signal: `drain_and_check` tells the two apart. Without that a signal that arrives just before its
    process begins to wait would be noticed only when the wait ends (signal.set_wakeup_fd in Python's documentation).

    An object is for one process. A child that is forked for a client makes its own, and gives the `Stop` of its parent
    process as `parent`: an order to the parent is an order to the child as well. With `signals=False` the signals are
    left to the program that the server is a part of, and any thread may make it.
    """

    def __init__(self, parent: "Stop | None" = None, signals: bool = True) -> None:
        self._order = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._open = [self._order]
        self._order_or_signal = select.epoll()
        self._order_or_signal.register(self._order, select.EPOLLIN)
        self._signals = -1
        self._woken_before = -1
        """The wake-up descriptor that was set before ours (signal.set_wakeup_fd); `close` restores it."""
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
        """Called when the order comes, usually in a signal handler in the main thread; None: nothing is called."""
        self.started = False
        """True once clients may be accepted. Before that a stop has no requests to wait for."""
        self._exit_after_s: float | None = None
        self._time_is_up_logged = False
        self._closed = False
        forked.register(self)

    def fileno(self) -> int:
        return self._order_or_signal.fileno()

    @property
    def order_fileno(self) -> int:
        """A descriptor that is readable once the order has come, and not before. For threads other than the main one,
        where no signal arrives.

        `fileno` is an epoll(7) itself, and the kernel lets no more than 500 others wait for one.
        """
        return self._order

    def close_in_child(self) -> None:
        """Close this process's copies of the descriptors. Called in a child that the application has forked, and by a
        worker for its supervisor's `Stop`. May be called more than once."""
        while self._open:
            os.close(self._open.pop())
        self._order_or_signal.close()

    def close(self) -> None:
        """Close the descriptors, and restore the wake-up descriptor. For an embedded server that has ended, whose
        process goes on."""
        self._closed = True
        if self._signals >= 0:
            signal.set_wakeup_fd(self._woken_before)
        self.close_in_child()

    @property
    def has_signals(self) -> bool:
        """True if this server handles the signals of the process.

        False if it is embedded in a program, which handles its own signals and keeps running after the server stops:
        the server must then end its threads itself.
        """
        return self._signals >= 0

    def drain_and_check(self) -> bool:
        """To be called when `fileno` is readable. Returns True if the order has come; else a signal has made it
        readable, and this makes it unreadable again."""
        # In the main thread alone: if another thread drained it, the main thread would not wake to run the handlers.
        if not self.ordered and self._signals >= 0 and current_thread() is main_thread():
            with suppress(BlockingIOError):
                os.read(self._signals, 4096)
            self.check_parent()
        return self.ordered

    def check_parent(self) -> bool:
        """True if the order has come to this process or to the parent. For a child that has not waited at `fileno`
        since; an order to the parent becomes one to this process."""
        if self._parent is not None and not self.ordered and is_readable(self._parent._order):
            self.order()
        return self.ordered

    def wait(self) -> None:
        """Block until the order comes. For the main thread, where signals arrive."""
        while not self.ordered:
            try:
                self.wait_for_signal(None)
            except BaseException:
                log.exception("a signal handler of the application raised")

    def wait_for_signal(self, timeout_s: float | None) -> None:
        """Block until a signal has been handled, the order has come, or `timeout_s` seconds have passed; None: without
        a time-out. For the main thread."""
        poller = Poll()
        poller.add(self._signals if self.ordered else self.fileno(), READABLE)
        poller.wait(timeout_s)
        if self._signals >= 0:
            with suppress(BlockingIOError):
                os.read(self._signals, 4096)

    def order(self) -> None:
        """Give the order to stop: make the descriptors readable, and call `on_order`. May be called more than once, by
        any thread, and in a signal handler."""
        first = not self.ordered
        self.ordered = True
        os.eventfd_write(self._order, 1)
        if self.on_order:
            self.on_order()
        if first and self._exit_after_s is not None:
            self._exit_after(self._exit_after_s if self.started else STARTING_GRACE_S)

    def on_signals(self, on_second: Callable[[], NoReturn]) -> None:
        """Set handlers: TERM and INT give the order, and a second one calls `on_second`. Also logs HUP and USR1. For
        the main thread of the server's first process."""

        def handle(number: int, frame: FrameType | None) -> None:
            if self.ordered:
                on_second()
            self.order()

        forked.set_signal_handler(signal.SIGTERM, handle)
        forked.set_signal_handler(signal.SIGINT, handle)
        log_unused_signals(self.order)

    def on_term(self) -> None:
        """Set a handler: TERM gives the order; a second one changes nothing. For the main thread of a worker: its
        supervisor decides about killing."""
        forked.set_signal_handler(signal.SIGTERM, lambda number, frame: self.order())

    def exit_after(self, graceful_timeout: float) -> None:
        """Have this process exit, and so cut requests in flight, if it still runs `graceful_timeout` seconds (and
        CUT_MARGIN_S) after the order.

        A model that can cut its connections by itself does so earlier.
        """
        self._exit_after_s = graceful_timeout + CUT_MARGIN_S

    def _exit_after(self, seconds: float) -> None:
        """Exit `seconds` from now. A thread waits for that, because the application could reset a timer of the process.
        It is started by `_thread`, which takes no lock that the code interrupted by the signal may hold."""
        try:
            _thread.start_new_thread(self._sleep_and_exit, (seconds,))
        except RuntimeError:  # the system gives no thread: use a timer
            signal.signal(signal.SIGALRM, lambda number, frame: os._exit(0))
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def exit_soon(self, status: int) -> None:
        """Have this process, which could not start, exit with `status` within STARTING_GRACE_S, even if a thread of the
        application goes on. Returns at once."""

        def end() -> NoReturn:
            time.sleep(STARTING_GRACE_S)
            os._exit(status)

        with suppress(RuntimeError):
            _thread.start_new_thread(end, ())

    def _sleep_and_exit(self, seconds: float) -> None:
        time.sleep(seconds)
        if self._closed:
            return
        # In a thread, because another thread may be stuck while it holds the lock of logging.
        words = Thread(target=self._log_before_exit, daemon=True)
        with suppress(RuntimeError):
            words.start()
            words.join(LOG_BEFORE_EXIT_S)
        os._exit(0 if self.started else 1)

    def _log_before_exit(self) -> None:
        if self.started:
            self.log_time_is_up()
        else:
            log.error("the application had not started when the order to stop came, and did not end")
        logging.shutdown()

    def log_time_is_up(self) -> None:
        """Log that requests in flight are cut. Only the first call logs."""
        if not self._time_is_up_logged:
            self._time_is_up_logged = True
            log.warning("requests in flight are cut: the time for a graceful stop is up")


def is_readable(descriptor: int) -> bool:
    """True if the descriptor is readable now."""
    poller = Poll()
    poller.add(descriptor, READABLE)
    return bool(poller.wait(0))


UNUSED_SIGNALS = {
    signal.SIGHUP: "SIGHUP has no meaning yet, and is ignored: restart the server to load its application anew",
    signal.SIGUSR1: "SIGUSR1 has no meaning yet, and is ignored: restart the server to open its logs anew",
}

_hung_up: Callable[[], object] | None = None
"""Called at HUP if standard error was a terminal that is gone now: no user can stop the server from there any more.
None: standard error was no terminal."""


def log_unused_signals(hung_up: Callable[[], object]) -> None:
    """Set handlers that log HUP and USR1, unless the application has set its own. For the main thread of the server,
    once it has loaded the application; processes that it forks call `log_unused_signals_in_child`. hung_up: called at
    HUP if the terminal of standard error is gone."""
    global _hung_up
    _hung_up = hung_up if os.isatty(2) else None
    log_unused_signals_in_child()


def log_unused_signals_in_child() -> None:
    """Set handlers that log HUP and USR1, in a process that the server has forked. If the terminal is gone, its parent
    stops it."""
    for number in UNUSED_SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            forked.set_signal_handler(number, _handle)


def _handle(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGHUP and _hung_up and not os.isatty(2):
        _hung_up()
    else:
        _write(UNUSED_SIGNALS[signal.Signals(number)])


def _write(sentence: str) -> None:
    """Log a warning; may be called in a signal handler. The line is written to descriptor 2, because the interrupted
    code may be writing to sys.stderr, whose methods must not be entered again."""
    if not log.isEnabledFor(logging.WARNING):
        return
    record = log.makeRecord(log.name, logging.WARNING, __file__, 0, sentence, (), None)
    handlers = logging.getLogger().handlers
    line = handlers[0].format(record) if handlers else sentence
    try:
        os.write(2, line.encode() + b"\n")
    except OSError:
        pass
