"""Child processes that do not outlive their parent, and are reaped when they end."""

import _thread
import atexit
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from _signal import (  # type: ignore[import-not-found]  # see `forked`
    SIG_BLOCK,
    SIG_DFL,
    SIG_UNBLOCK,
    getsignal,
    pthread_sigmask,
    set_wakeup_fd,
)
from _signal import signal as set_handler
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from os import getppid
from types import FrameType
from typing import Any, NoReturn

from septet import forked, remains
from septet.metrics.lanes import CHILD
from septet.processes import executors, other_signals
from septet.processes.in_flight import InFlight
from septet.processes.orders import DRAIN, Stop
from septet.processes.other_signals import HANDLED_SIGNALS
from septet.streams import flush

PR_SET_PDEATHSIG = 1  # prctl(2)

ORDERS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, DRAIN)

# Plain numbers, for the enums of `signal` cost each child some pages.
_SIGINT, _SIGQUIT = int(signal.SIGINT), int(signal.SIGQUIT)
_BLOCKED = tuple(map(int, (*ORDERS, *HANDLED_SIGNALS)))
_RESET = tuple(map(int, (signal.SIGTERM, DRAIN)))
_UNBLOCKED = tuple(map(int, (signal.SIGCHLD, *HANDLED_SIGNALS)))
_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
_SIGCHLD = int(signal.SIGCHLD)
_SIGCHLD_ALONE = (_SIGCHLD,)
_LET_THROUGH = tuple(map(int, (*ORDERS, signal.SIGCHLD)))

THREADS_S = 0.5
"""Seconds that non-daemon threads of the application may go on at the end of the server, before the process exits."""

CHECK_CHILDREN_S = 0.5
"""Seconds between two looks for ended children while no SIGCHLD is noticed. That signal does not wake this
process if the application has set a wake-up descriptor of its own (signal.set_wakeup_fd).
"""

prctl = ctypes.CDLL(None).prctl  # without `use_errno`, which costs each call a look into a dictionary of the thread

log = logging.getLogger("septet")

_of_application: Any = SIG_DFL
"""What SIGCHLD did before `handle_sigchld` was called: the handler that the application has set when it was imported,
SIG_IGN or SIG_DFL. Children of this process get it back.
"""


def handle_sigchld(handler: forked.Handler) -> None:
    """Set the handler of SIGCHLD in a process that forks workers, or a child for each client."""
    global _of_application
    before = getsignal(_SIGCHLD)
    _of_application = SIG_DFL if before is None else before
    forked.set_signal_handler(_SIGCHLD, handler)


def fork(run: Callable[[], int]) -> int:
    """Fork. The child calls `run` and exits with the status that it returns; the parent gets the child's process id.
    Raises OSError in the parent if the fork fails.

    The kernel kills the child when its parent dies. The child ignores INT, which a terminal sends to both; its parent
    handles it. A TERM for the child is blocked until `run` has set a handler and calls `unblock_orders`.
    """
    flush()
    parent = os.getpid()
    # Until its own handlers are set, the child would handle an order by its parent's, and HUP and USR1 by the default.
    pthread_sigmask(SIG_BLOCK, _BLOCKED)
    try:
        child = forked.fork()
        if not child:
            _prepare_child(parent)
    except BaseException:
        if os.getpid() != parent:  # a child that fails here must not go on as a second parent
            os._exit(1)
        raise
    finally:
        if os.getpid() == parent:
            pthread_sigmask(SIG_UNBLOCK, _BLOCKED)
    return child or exit_now(_status_of(run))


def unblock_orders() -> None:
    """Let TERM, INT, QUIT and DRAIN arrive, which `fork` has blocked, and CHLD: an application may block all of them
    when it is imported. To be called when the process has set its handlers.
    """
    pthread_sigmask(SIG_UNBLOCK, _LET_THROUGH)


def _prepare_child(parent: int) -> None:
    """Set up a forked child: it dies with `parent`, and its signals no longer have the parent's handlers."""
    prctl(PR_SET_PDEATHSIG, 9)  # SIGKILL; `signal` has enums, which cost each child some pages
    if getppid() != parent:  # the parent had died before the call of prctl(2)
        os._exit(1)
    set_wakeup_fd(-1)
    # A handler and not SIG_IGN, which a program that the application executes would inherit.
    forked.set_signal_handler(_SIGINT, _ignore)
    for number in _RESET:
        set_handler(number, SIG_DFL)
    set_handler(_SIGCHLD, _of_application)
    forked.reset_signal_handler(_SIGQUIT)
    other_signals.handle_signals_in_child()
    pthread_sigmask(SIG_UNBLOCK, _UNBLOCKED)
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None:  # else it would wait at our exit for children of our parent
        multiprocessing._children.clear()


def _ignore(number: int, frame: FrameType | None) -> None:
    pass


def _status_of(run: Callable[[], int]) -> int:
    try:
        return run()
    except BaseException:
        log.exception("a child process failed")
        return 1


def exit_now(status: int) -> NoReturn:
    """Flush the standard streams and exit at once, by os._exit. Meant for a forked child: the `finally` clauses
    and context managers further up its stack are those of its parent, and must not run in the child.
    """
    try:
        executors.end_processes()
        flush()
        remains.remove()
    finally:
        os._exit(status)


_ending: list[int] = []
"""Holds the status with which `_exit_after_all_others` ends the process; empty until it has begun to."""


def _exit_after_all_others(status: int) -> None:
    """Called by atexit, before all other functions: call these, and end the process at once. Those count that were
    registered before the server began, too: by a tracer, which `ddtrace-run` or a `sitecustomize` has started.

    If the process were not ended there, Python would free objects and locks on which daemon threads of the server
    wait: that is probably why about one server in two thousand crashed at its end (SIGSEGV), after it had answered all
    requests.
    """
    if _ending or forked.by_application:
        return
    _ending.append(status)
    atexit._run_exitfuncs()
    exit_now(status)


def exit_despite_threads(status: int, finish_jobs: bool = True) -> None:
    """Make sure that the exit of this process, which is about to happen, is not delayed by threads and children of
    the application. Returns at once.

    Python would wait at its exit, without bound, for non-daemon threads and non-daemon children of multiprocessing.
    After this call it waits for such threads no longer than THREADS_S seconds; then the process exits with
    `status`, whatever they do. Such children are not waited for, and go on. The functions of atexit are called in
    any case.

    Jobs of a ProcessPoolExecutor are finished first, and what waits for their results has THREADS_S seconds from then
    on. `Stop` bounds this by `--graceful-timeout`. finish_jobs: False if no `Stop` does; such jobs are then cut.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None:
        children = multiprocessing._children
        children.difference_update([child for child in children if not child.daemon])
    over: list[None] = []
    atexit.register(_exit_after_all_others, status)
    atexit.register(over.append, None)  # atexit calls it first, when the threads have ended

    def end() -> None:
        # Not woken earlier. A daemon thread that wakes while the interpreter ends is ended by pthread_exit(3), which
        # unwinds its stack beside exit(3) of the main thread, and may crash; one that sleeps ends with the process.
        time.sleep(THREADS_S)
        if not over and finish_jobs and executors.have_jobs():
            log.info("waiting for jobs of the application's ProcessPoolExecutor")
            executors.finish_jobs()
            time.sleep(THREADS_S)
        if not over:
            log.warning("threads of the application are cut: they have not ended with the server")
            atexit._run_exitfuncs()
            exit_now(status)

    with suppress(RuntimeError):
        _thread.start_new_thread(end, ())


def run_exit_handlers(status: int) -> None:
    """Do what Python does at the end of a program, in a child process that will end by `exit_now`: wait for
    non-daemon threads, at most THREADS_S seconds, and for jobs of executors, and call the functions of atexit.
    (multiprocessing does the same in its children.) `status` is the exit status if threads still run after that time.
    """
    alone = threading.active_count() == 1
    if alone and not atexit._ncallbacks() and not getattr(threading, "_threading_atexits", True):
        return  # nothing is registered, as in most children of forking
    if not alone or "multiprocessing.process" in sys.modules:
        exit_despite_threads(status)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        log.exception("the application raised at the exit of its process")


def _clear_exit_handlers() -> None:
    """Called in a forked child: forget the functions that the application registered with atexit before the fork.
    They are to run once, at the exit of the parent.
    """
    atexit._clear()
    multiprocessing = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None:
        atexit.register(multiprocessing._exit_function)


class ChildProcesses:
    """The children of a process that forks for every client. Takes the exit status of each child when it ends, in
    a handler of SIGCHLD. Used only in the main thread. Children that the application has started are left to the
    application.
    """

    def __init__(self, in_flight: InFlight, stop: Stop) -> None:
        self._in_flight = in_flight
        self._stop = stop
        self._slots: dict[int, int] = {}
        """The slot of shared memory in which a child counts its requests, by the child's process id; 0: none."""
        other_signals.pass_on_reopening = self._reopen
        handle_sigchld(self._reap)

    def fork(self, run: Callable[[], int]) -> None:
        """Fork a child that calls `run` and exits with the status that it returns. Raises OSError if the system gives
        no process, or if no slot is free in the shared memory in which the child is to count its requests; MemoryError,
        and what a signal handler of the application raises.
        """
        pthread_sigmask(SIG_BLOCK, _SIGCHLD_ALONE)  # `_reap` must not run before the slot is noted
        try:
            slot = self._in_flight.allot() if self._in_flight.counts else 0
            try:
                self._slots[fork(partial(self._work, slot, run))] = slot
            except BaseException:
                if slot:
                    self._in_flight.vacate(slot)
                raise
        finally:
            pthread_sigmask(SIG_UNBLOCK, _SIGCHLD_ALONE)

    def _reopen(self) -> None:
        for child in list(self._slots):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGUSR1)

    def _work(self, slot: int, run: Callable[[], int]) -> int:
        """What the child does from its start to its end: count its requests in slot `slot` of shared memory (0: count
        none), call `run`, and run the exit handlers. Returns the exit status.
        """
        if slot:
            self._in_flight.occupy(slot, CHILD)
        _clear_exit_handlers()
        status = run()
        run_exit_handlers(status)
        return status

    def _reap(self, number: int, frame: FrameType | None) -> None:
        """Handler of SIGCHLD: take the exit status of each child that has ended, and free the slot of shared memory in
        which it counted its requests.
        """
        found = False
        try:
            while self._slots and (ended := os.waitid(os.P_ALL, 0, _ENDED)):
                found = True
                child = ended.si_pid
                if child not in self._slots:
                    # A child of the application. While it is not reaped, waitid may report it again, and not ours.
                    for child in list(self._slots):
                        self._reap_one(child)
                    return
                self._reap_one(child)
        except ChildProcessError:  # there are no children
            pass
        if not found:  # the application may have waited for ours
            for child in list(self._slots):
                self._reap_one(child)

    def _reap_one(self, child: int) -> None:
        try:
            if not os.waitpid(child, os.WNOHANG)[0]:
                return
        except ChildProcessError:  # the application has waited for it
            pass
        slot = self._slots.pop(child, None)
        if slot:  # None: the signal handler has interrupted this call, and has reaped the child
            self._in_flight.vacate(slot)

    def wait(self) -> None:
        """Block until all children have ended. Called in the main thread."""
        for child in list(self._slots):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGCONT)  # one that is stopped hears of the order when it goes on
        while self._slots:
            self._stop.wait_for_signal(CHECK_CHILDREN_S)
            self._reap(signal.SIGCHLD, None)
