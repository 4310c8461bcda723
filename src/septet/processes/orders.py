"""The order to stop as a descriptor, so that a thread that waits for something else can wait for it, too; and the
signals that give the order.

There are two such orders. To stop: idle connections are closed, and requests in flight are answered. To drain: a
successor serves already, at the same listeners, so no client may see an end that an answer has not announced. The
supervisor gives it by DRAIN, a signal that no terminal, shell or service manager sends.

Other signals are handled in `other_signals`.
"""

import _thread
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from mmap import mmap
from threading import current_thread, main_thread
from types import FrameType
from typing import NoReturn

from septet import forked, remains
from septet.pollers import READABLE, Poll
from septet.processes import executors
from septet.processes.attendant import TURN_S, Attendant
from septet.processes.other_signals import log_unused_signals
from septet.processes.resource_exhaustion import ResourceExhaustion, lacks_memory, reason
from septet.thread import ServerThread

CUT_MARGIN_S = 0.25
"""Seconds that a process waits after the graceful time-out before it exits: the model is given this time to
end by itself.
"""

STARTING_GRACE_S = 0.5
"""Seconds after the order to stop at which the process exits if the application is still starting."""

LOG_BEFORE_EXIT_S = 0.25
"""Seconds for which a process that is about to exit waits until its last line is in the log. It does not wait
longer, because another thread may hold the lock of logging and be stuck.
"""

DRAIN = signal.SIGRTMIN + 4
"""The signal by which a supervisor orders a generation, and a generation its workers, to drain: to finish what
they have, because a successor serves. Lower real-time signals are used by some C libraries and runtimes.
"""

time_is_up = "the time for a graceful stop is up (--graceful-timeout)"
"""The reason that is logged when connections are closed before their requests are answered, because the
graceful time-out has passed in this process or in one that it forks.
"""

_SIGTERM, _DRAIN = int(signal.SIGTERM), int(DRAIN)  # plain numbers: enums cost each child of forking some pages
_SIGQUIT = int(signal.SIGQUIT)
_ORDERS = _SIGTERM, int(signal.SIGINT), _SIGQUIT, _DRAIN
"""The signals whose handlers give an order, or, as QUIT, end the process."""

_TO_STOP, _TO_DRAIN = 1, 2

log = logging.getLogger("septet")

_cut = mmap(-1, 1)
"""A byte of memory that all processes forked from this one share. It is 1 once a process has closed
connections before their requests were answered, or was killed while it may have had such requests; the last
line in the log then says so.
"""


def forget_cuts() -> None:
    """Forget what `note_cut` has noted. Called when the server begins to stop, because the last line in the log is
    only about requests that are left unanswered from then on.
    """
    _cut[0] = 0


def note_cut() -> None:
    """Note that requests have got no answer, or only a part of one, because this server has closed their
    connections, or has killed a process that may have had some. Then the last line in the log (`log_stopped`) says
    that requests were not answered.
    """
    _cut[0] = 1


def log_stopped(unanswered: int | None = None) -> None:
    """Log the last line of a server that has ended: whether all requests were answered. `unanswered` is how many
    were not, of those that the server had when the order to stop came or that came later; None: they were not
    counted.
    """
    if not _cut[0]:
        log.info("stopped: all requests were answered")
    elif unanswered:
        were = "request was" if unanswered == 1 else "requests were"
        log.warning("stopped: %d %s not answered (SEP121)", unanswered, were)
    else:
        log.warning("stopped: requests were cut (SEP121)")


SHORTAGE_PAUSE_S = 0.1
"""Seconds that the main thread pauses after it could not wait for signals for lack of memory."""

_exhaustion = ResourceExhaustion()


class Stop:
    """The order to stop, or to drain (to finish what the process has, because another one has taken over).
    `fileno()` is a descriptor that becomes readable when the order comes, so that any wait can include it.

    Once the order has come the descriptor stays readable, in child processes as well. Before that any signal may
    make it readable, so that a signal which arrives just before its process begins to wait also ends that wait
    (signal.set_wakeup_fd in Python's documentation); `drain_and_check` tells whether it was the order.

    Each process has a Stop of its own. A child that is forked for a client gives that of its parent process as
    `parent`: an order to the parent is an order to the child as well. With `signals=False` signals are left to the
    program that the server is a part of, and any thread may make the object. With `supervised=True` the process has
    a supervisor, which decides about killing the process, and which gets the signals of a terminal as well.
    """

    def __init__(self, parent: "Stop | None" = None, signals: bool = True, supervised: bool = False) -> None:
        self._order = self._signals = -1
        self._open: list[int] = []
        self._order_or_signal: select.epoll
        self._woken_before = -1
        """The wake-up descriptor that the process had before this object set its own (signal.set_wakeup_fd); `close`
        restores it. -1: there was none.
        """
        self.has_signals = signals
        """True if this server handles the signals of the process.

        False if it is embedded in a program, which handles its own signals and keeps running after the server stops:
        the server must then end its threads itself.
        """
        self._supervised = supervised
        self._parent = parent
        self._last: mmap = parent._last if parent else mmap(-1, 1)
        """A byte of shared memory: the last order, _TO_STOP or _TO_DRAIN; 0: none has come. Children that are forked
        for clients read there which order their parent has got.
        """
        self._drains = False
        self.ordered = False
        self._ordered_at = 0.0
        """When the order came first, on the clock of `time.monotonic`."""
        self.on_order: Callable[[], None] | None = None
        """Called when the order comes, usually in a signal handler in the main thread; None: nothing is called."""
        self.started = False
        """True once clients may be accepted. If the order to stop comes before that, the process exits soon, because
        it has no requests to answer.
        """
        self._has_served = False
        """True once all requests are answered or cut: what then keeps the process from its end is the application."""
        self._exit_after_s: float | None = None
        self._time_is_up_logged = False
        self._closed = False
        self._handlers: tuple[object, ...] = ()
        if parent is None:
            self.open()

    def open(self) -> None:
        """Open the descriptors. For the main thread of a child that was forked for a client, when it is about to wait
        for the first time: most children serve one request and do not. Any other process has them from the beginning.
        """
        order = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._open = [order]
        self._order_or_signal = select.epoll()
        self._order_or_signal.register(order, select.EPOLLIN)
        if self.has_signals:
            self._signals, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._open += [self._signals, waker]
            self._woken_before = signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
            self._order_or_signal.register(self._signals, select.EPOLLIN)
        if self._parent is not None:
            self._order_or_signal.register(self._parent._order, select.EPOLLIN)
        self._order = order
        if self.ordered:  # by a signal that came before `order` could write to the descriptor
            os.eventfd_write(order, 1)
        forked.register(self)

    def fileno(self) -> int:
        if self._order < 0:
            self.open()
        return self._order_or_signal.fileno()

    @property
    def order_fileno(self) -> int:
        """A descriptor that is readable once the order to stop has come, and not before. It is for threads other than
        the main one, because no signal arrives in these.

        Any number of threads can wait for it. `fileno`, in contrast, is an epoll(7) instance itself, for which the
        kernel lets at most 500 other instances wait.
        """
        return self._order

    def fileno_here(self) -> int:
        """Return the descriptor at which the calling thread is to wait: `fileno` in the main thread, `order_fileno` in
        any other."""
        return self.fileno() if current_thread() is main_thread() else self._order

    @property
    def parent_order_fileno(self) -> int | None:
        """A descriptor that is readable once the order to stop has come to the parent process, if this process is a
        child that was forked for a client; None if it is not.
        """
        return self._parent._order if self._parent else None

    def close_in_child(self) -> None:
        """Close this process's copies of the descriptors. Called in a child that the application has forked, and by a
        worker for its supervisor's `Stop`. May be called more than once."""
        while self._open:
            os.close(self._open.pop())
        if self._order >= 0:
            self._order_or_signal.close()

    def close(self) -> None:
        """Close the descriptors, and set the wake-up descriptor for signals (signal.set_wakeup_fd) that the process
        had before. Called when an embedded server has ended, whose process goes on.
        """
        self._closed = True
        if self._signals >= 0:
            signal.set_wakeup_fd(self._woken_before)
        self.close_in_child()

    @property
    def has_supervisor(self) -> bool:
        """True if the process has a supervisor, which gives it its orders."""
        return self._supervised

    @property
    def draining(self) -> bool:
        """True if the order that has come is to drain: another process has taken over, and accepts clients already."""
        return self._drains and self._last[0] == _TO_DRAIN

    def drain_and_check(self) -> bool:
        """To be called when `fileno` is readable. Returns True if the order to stop, or to drain (another process has
        taken over), has come. If not, a signal has made the descriptor readable, and this call makes it unreadable
        again.
        """
        # In the main thread alone: if another thread drained it, the main thread would not wake to run the handlers.
        if not self.ordered and self._signals >= 0 and current_thread() is main_thread():
            self._read_signals()
            self.check_parent()
        return self.ordered

    def check_parent(self) -> bool:
        """Return True if the order to stop has come to this process or to its parent; if it has come to the parent,
        give the same order to this process. Used in a child that was forked for a client, and that may not have waited
        at `fileno` since the order came.
        """
        if self._parent is not None and not self.ordered and self._last[0]:
            self.order(drain=self._parent.draining_of_children)
        return self.ordered

    @property
    def draining_of_children(self) -> bool:
        """True if the last order to the parent of this process, or to this process if it has no such parent, was to
        drain, not to stop. It is read from memory that a child forked for a client shares with its parent, so the child
        knows it before it has taken over the order.
        """
        return self._last[0] == _TO_DRAIN

    def wait(self, over: Callable[[], bool] = lambda: False, attendant: Attendant | None = None) -> None:
        """Block until the order comes or `over()` is true. `attendant` is an object whose work, such as answering the
        console, is done meanwhile in short turns; `over` is called after each turn and each signal. To be called in the
        main thread, where signals arrive.
        """
        while True:
            try:
                self._wait(over, attendant)
                return
            except BaseException as error:  # it has come while `_wait` handled the one before
                if forked.by_application:
                    forked.exit_child(error)

    def _wait(self, over: Callable[[], bool], attendant: Attendant | None) -> None:
        while True:
            try:
                if self.ordered or over():
                    return
                self.wait_for_signal(None, attendant)
                if forked.by_application:  # a signal handler of the application's has forked, and returned
                    forked.exit_child()
            except BaseException as error:
                if forked.by_application:
                    forked.exit_child(error)
                if lacks_memory(error):
                    _exhaustion.report(f"cannot wait for signals: {reason(error)}", "they are waited for again")
                    time.sleep(SHORTAGE_PAUSE_S)
                    continue
                log.exception("a signal handler of the application raised")

    def wait_for_signal(self, timeout_s: float | None, attendant: Attendant | None = None) -> None:
        """Block until a signal was handled, or `timeout_s` seconds have passed (None: no time-out). With an
        `attendant`, the wait also ends when the attendant has something to do, and after TURN_S seconds at the latest;
        then one turn of its work is done. To be called in the main thread.
        """
        poller = Poll()
        poller.add(self._signals if self.ordered else self.fileno(), READABLE)
        if attendant is not None:
            poller.add(attendant.fileno(), READABLE)
            timeout_s = TURN_S if timeout_s is None else min(timeout_s, TURN_S)
        poller.wait(timeout_s)
        if attendant is not None:
            attendant.turn()
        if self._signals >= 0:
            self._read_signals()

    def _read_signals(self) -> None:
        """Take the numbers of the signals that have come out of the wake-up pipe. By then their handlers have run, but
        an exception that another thread raises in this one may have ended a handler before its first line: then the
        signal that should have given an order is handled now.
        """
        numbers = bytearray(4096)
        try:
            with suppress(BlockingIOError):
                os.readv(self._signals, (numbers,))
        finally:  # if such an exception comes now, the bytes are in `numbers` and no longer in the pipe
            self._handle_lost_orders(numbers)

    def _handle_lost_orders(self, numbers: bytearray) -> None:
        # A handler that is still due runs when this function begins: Python notes a signal before it writes its number.
        for number in _ORDERS:
            if number in numbers and (number == _SIGQUIT or not self.ordered):
                handler = signal.getsignal(number)
                if callable(handler) and forked.is_ours(number, handler):  # else the application has handled it
                    handler(number, None)

    def order(self, drain: bool = False) -> None:
        """Give this process the order to stop, or, if `drain` is true, to drain (to finish what it has, because
        another process has taken over). An order to stop that comes after one to drain replaces it; an order to drain
        after one to stop does not. May be called in a signal handler.
        """
        first = not self.ordered
        if first:
            self._ordered_at = time.monotonic()
        if first or not drain:
            self._drains = drain
            if self._parent is None:
                self._last[0] = _TO_DRAIN if drain else _TO_STOP
        self.ordered = True
        if self._order >= 0:
            os.eventfd_write(self._order, 1)
        if self.on_order:
            self.on_order()
        if first and self._exit_after_s is not None:
            self._exit_after(self._exit_after_s if self.started else STARTING_GRACE_S)

    def on_signals(self, on_second: Callable[[], NoReturn]) -> None:
        """Set signal handlers: TERM and INT give the order to stop; a second TERM or INT, or a QUIT, calls
        `on_second`. If the process has a supervisor, set those of `on_term` instead. To be called in the main thread.
        """
        if self._supervised:
            self.on_term()
            return

        def handle(number: int, frame: FrameType | None) -> None:
            if self.ordered:
                on_second()
            self.order()

        def end(number: int, frame: FrameType | None) -> None:
            on_second()

        forked.set_signal_handler(signal.SIGTERM, handle)
        forked.set_signal_handler(signal.SIGINT, handle)
        if signal.getsignal(signal.SIGQUIT) is signal.SIG_DFL:
            forked.set_signal_handler(signal.SIGQUIT, end)
        # A child sets its own handlers: if these ended then, that would write to some 15 pages of each child.
        self._handlers = handle, end
        log_unused_signals(self.order)

    def on_term(self) -> None:
        """Set signal handlers: TERM gives the order to stop, and DRAIN the order to drain (to finish what it has,
        because another process has taken over). A second TERM does not end the process at once, because its supervisor
        decides about killing it. To be called in the main thread.
        """
        forked.set_signal_handler(_SIGTERM, self._on_term)
        forked.set_signal_handler(_DRAIN, self._on_drain)

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        self.order()

    def _on_drain(self, number: int, frame: FrameType | None) -> None:
        self.order(drain=True)

    def exit_after(self, graceful_timeout: float) -> None:
        """Have this process exit if it still runs `graceful_timeout` + CUT_MARGIN_S seconds after the order to stop;
        requests in flight are then not answered.

        A model that can close its connections by itself does so CUT_MARGIN_S seconds earlier.
        """
        self._exit_after_s = graceful_timeout + CUT_MARGIN_S

    def exit_despite_application(self, graceful_timeout: float) -> None:
        """Have this process, whose workers have ended, exit in the time that `exit_after` gives, but at least
        STARTING_GRACE_S from now, whatever exit handlers of the application do. Returns at once.
        """
        self._has_served = True
        passed_s = time.monotonic() - self._ordered_at
        self._exit_after(max(STARTING_GRACE_S, graceful_timeout + CUT_MARGIN_S - passed_s))

    def _exit_after(self, seconds: float) -> None:
        """Have the process exit `seconds` from now, and return at once. A thread waits meanwhile, because the
        application could reset a timer of the process. The thread is started by `_thread`, which takes no lock: this
        may be called in a signal handler, and the interrupted code may hold one.
        """
        try:
            _thread.start_new_thread(self._sleep_and_exit, (seconds,))
        except RuntimeError:  # the system gives no thread: use a timer
            signal.signal(signal.SIGALRM, lambda number, frame: exit_at_once(0))
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def silence_application(self) -> None:
        """Disable the application's signal handlers, because one that raises could interrupt the last steps of the
        process. Called in the main thread when the process has served. If the server is embedded in a program, that
        program's handlers are kept.
        """
        self._has_served = True
        if self.has_signals:
            forked.silence_application_signals()

    def exit_soon(self, status: int) -> None:
        """Have this process, which could not start, exit soon (see the function `exit_soon`), unless it is that of a
        program that goes on without the server.
        """
        exit_soon(status, lambda: self._closed)

    def _sleep_and_exit(self, seconds: float) -> None:
        time.sleep(seconds)
        if self.started and self._exit_after_s is not None and seconds < self._exit_after_s:
            # It had started just before the order, and requests may be in flight.
            time.sleep(self._exit_after_s - seconds)
        if self._closed:
            return
        # In a thread, because another thread may be stuck while it holds the lock of logging.
        words = ServerThread(self._log_before_exit)
        with suppress(RuntimeError):
            words.start()
            words.join(LOG_BEFORE_EXIT_S)
        exit_at_once(0 if self.started else 1)

    def _log_before_exit(self) -> None:
        if self._has_served and executors.have_jobs():
            log.warning("jobs of the application's ProcessPoolExecutor are cut: they have not ended with the server")
        elif self._has_served:
            log.warning("exit handlers of the application are cut: they have not ended with the server")
        elif self.started:
            self.log_time_is_up()
        else:
            log.error("SEP122 the application had not started when the order to stop came, and did not end")
        logging.shutdown()

    def log_time_is_up(self) -> None:
        """Log that requests in flight will not be answered, because the graceful time-out has passed. Only the first
        call logs.
        """
        if not self._time_is_up_logged:
            self._time_is_up_logged = True
            note_cut()
            log.warning("SEP121 requests in flight are cut: %s", time_is_up)


def exit_at_once(status: int) -> NoReturn:
    """Exit by os._exit, but leave no files and no processes that nobody would end."""
    try:
        executors.end_processes()
        remains.remove()
    finally:
        os._exit(status)


def exit_soon(status: int, unless: Callable[[], bool] = lambda: False) -> None:
    """Have this process, which could not start, exit with `status` within STARTING_GRACE_S, even if a thread or an exit
    handler of the application goes on. `unless`: asked at the end of that time; if it returns True, the process goes
    on. Returns at once.
    """

    def end() -> None:
        time.sleep(STARTING_GRACE_S)
        if not unless():
            exit_at_once(status)

    with suppress(RuntimeError):
        _thread.start_new_thread(end, ())


def is_readable(descriptor: int) -> bool:
    """True if the descriptor is readable now."""
    return bool(Poll.for_reading(descriptor).wait(0))
