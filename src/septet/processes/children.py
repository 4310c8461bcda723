"""Child processes that do not outlive their parent, and are reaped when they end."""

import _thread
import atexit
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import NoReturn

from septet import forked
from septet.processes.in_flight import InFlight
from septet.processes.orders import WITHOUT_MEANING, Stop, log_again
from septet.streams import flush

PR_SET_PDEATHSIG = 1  # prctl(2)

ORDERS = (signal.SIGTERM, signal.SIGINT)

THREADS_S = 0.5
"""For threads that the application has not made daemons, when the server has come to its end."""

CHECK_CHILDREN_S = 0.5
"""If a signal has gone elsewhere: the application may have a wake-up descriptor of its own."""

_libc = ctypes.CDLL(None, use_errno=True)

log = logging.getLogger("septet")


def fork(run: Callable[[], int]) -> int:
    """Fork; the child calls `run` and exits with its status. Gives the parent the child's process id. Raises OSError.

    The child is killed by the kernel when its parent dies, and leaves INT to its parent: a terminal sends it to both.
    A TERM that comes for it before `run` has set a handler waits until then.
    """
    flush()
    parent = os.getpid()
    # Lest the child take an order with its parent's handler, or the others with none.
    signal.pthread_sigmask(signal.SIG_BLOCK, (*ORDERS, *WITHOUT_MEANING))
    try:
        with forked.server_forks():
            child = os.fork()
        if not child:
            _prepare_child(parent)
    except BaseException:
        if os.getpid() != parent:  # a child that cannot begin must not go on as a second parent
            os._exit(1)
        raise
    finally:
        if os.getpid() == parent:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (*ORDERS, *WITHOUT_MEANING))
    return child or exit_now(_status_of(run))


def unblock_orders() -> None:
    """In a child that has set its handler for TERM."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS)


def _prepare_child(parent: int) -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
    signal.set_wakeup_fd(-1)
    # A handler and not SIG_IGN, which a program that the application executes would inherit.
    forked.set_signal_handler(signal.SIGINT, _ignore)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log_again()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, *WITHOUT_MEANING))
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None:  # which else would wait, at our end, for children that are our parent's
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
    """End this process without its parent's clean-up: what stands to be undone further up the stack is not ours."""
    try:
        flush()
    finally:
        os._exit(status)


def exit_despite_threads(status: int) -> None:
    """See that the end of this process, which comes next, is not held up by what the application has started.

    Python waits at its exit for threads that are no daemons and for such children of multiprocessing, for ever if need
    be. Threads are given THREADS_S; children go on by themselves. The functions of atexit are called in any case.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None:
        children = multiprocessing._children
        children.difference_update([child for child in children if not child.daemon])
    over = threading.Event()
    atexit.register(over.set)  # which is called first, when the threads have ended

    def end() -> None:
        if not over.wait(THREADS_S):
            log.warning("threads of the application are cut: they have not ended with the server")
            atexit._run_exitfuncs()
            exit_now(status)

    with suppress(RuntimeError):
        _thread.start_new_thread(end, ())


def run_exit_handlers(status: int) -> None:
    """What Python does at the end of a program, for a process that ends by `exit_now`; as multiprocessing does it."""
    exit_despite_threads(status)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        log.exception("the application raised at the exit of its process")


def _clear_exit_handlers() -> None:
    """What the application has registered with atexit in the parent is to be undone there, once."""
    atexit._clear()
    multiprocessing = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None:
        atexit.register(multiprocessing._exit_function)


class ChildProcesses:
    """The children of a process that forks for every client, reaped as they end.

    For the main thread; it handles SIGCHLD. Children of the application's are left to the application.
    """

    def __init__(self, in_flight: InFlight, stop: Stop) -> None:
        self._in_flight = in_flight
        self._stop = stop
        self._slots: dict[int, int] = {}
        """In which each child counts its requests, by its process id."""
        forked.set_signal_handler(signal.SIGCHLD, self._reap)

    def fork(self, run: Callable[[], int]) -> None:
        """Raises OSError."""
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))  # lest the child end before we know its slot
        try:
            slot = self._in_flight.allot()
            try:
                self._slots[fork(partial(self._work, slot, run))] = slot
            except OSError:
                self._in_flight.vacate(slot)
                raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))

    def _work(self, slot: int, run: Callable[[], int]) -> int:
        """In the child."""
        self._in_flight.occupy(slot)
        _clear_exit_handlers()
        status = run()
        run_exit_handlers(status)
        return status

    def _reap(self, number: int, frame: FrameType | None) -> None:
        with suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid not in self._slots:  # the application's, and it may hide others of ours
                    for child in list(self._slots):
                        self._reap_one(child)
                    return
                self._reap_one(ended.si_pid)

    def _reap_one(self, child: int) -> None:
        with suppress(ChildProcessError):  # the application has waited for it
            if not os.waitpid(child, os.WNOHANG)[0]:
                return
        slot = self._slots.pop(child, None)
        if slot is not None:  # else the handler has interrupted us, and was quicker
            self._in_flight.vacate(slot)

    def wait(self) -> None:
        """Until all have ended."""
        while self._slots:
            self._stop.wait_for_signal(CHECK_CHILDREN_S)
            self._reap(signal.SIGCHLD, None)
