"""Child processes that do not outlive their parent, and are reaped when they end."""

import ctypes
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import NoReturn

from septet.models._in_flight import InFlight
from septet.models._signals import WITHOUT_MEANING, log_again
from septet.streams import flush

PR_SET_PDEATHSIG = 1  # prctl(2)

ORDERS = (signal.SIGTERM, signal.SIGINT)

_libc = ctypes.CDLL(None, use_errno=True)


def fork(run: Callable[[], int]) -> int:
    """Fork; the child calls `run` and exits with its status. Gives the parent the child's process id. Raises OSError.

    The child is killed by the kernel when its parent dies, and leaves INT to its parent: a terminal sends it to both.
    """
    flush()
    parent = os.getpid()
    # Lest the child take an order with its parent's handler, or the others with none.
    signal.pthread_sigmask(signal.SIG_BLOCK, (*ORDERS, *WITHOUT_MEANING))
    try:
        child = os.fork()
        if not child:
            _settle(parent)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*ORDERS, *WITHOUT_MEANING))
    return child or leave(_status_of(run))


def _settle(parent: int) -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log_again()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))


def _status_of(run: Callable[[], int]) -> int:
    try:
        return run()
    except BaseException:
        logging.getLogger("septet").exception("a child process failed")
        return 1


def leave(status: int) -> NoReturn:
    """End this process without its parent's clean-up: what stands to be undone further up the stack is not ours."""
    try:
        flush()
    finally:
        os._exit(status)


class Brood:
    """The children of a process that forks for every client, reaped as they end.

    For the main thread; it handles SIGCHLD.
    """

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._slots: dict[int, int] = {}
        """In which each child counts its requests, by its process id."""
        signal.signal(signal.SIGCHLD, self._reap)

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
        return run()

    def _reap(self, number: int, frame: FrameType | None) -> None:
        with suppress(ChildProcessError):
            while child := os.waitpid(-1, os.WNOHANG)[0]:
                slot = self._slots.pop(child, None)
                if slot is not None:  # else it is a child of the application's
                    self._in_flight.vacate(slot)

    def wait(self) -> None:
        """Until all have ended."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
