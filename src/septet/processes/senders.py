"""Finds out which process has sent a signal to this one, for the log: "TERM from pid 1 (systemd), user 0".

Python does not tell its signal handlers. The kernel tells by signalfd(2), for blocked signals. So a supervisor, which
waits nearly all of the time, blocks the signals for which it has handlers while it waits, and waits for a signalfd as
well. What it reads there is logged, and the handler is called. A signal that comes while the supervisor works is
handled as usual, and its sender stays unknown.

The kernel does not tell a parent who has sent a signal, such as KILL, to its child.
"""

import ctypes
import logging
import os
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from septet import forked
from septet.pollers import READABLE, Poll

log = logging.getLogger("septet")

WATCHED = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
    *(signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU),
)

_SIZE = 128
"""Size of struct signalfd_siginfo in bytes."""
_FIELDS = struct.Struct("=IiiII")
"""The beginning of struct signalfd_siginfo: ssi_signo, ssi_errno, ssi_code, ssi_pid, ssi_uid."""
_SI_KERNEL = 0x80
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
"""Flags of signalfd(2): SFD_CLOEXEC and SFD_NONBLOCK have the values of these two."""
_SIGSET_BYTES = 128
"""Size of sigset_t in bytes, in glibc and musl."""

_libc = ctypes.CDLL(None, use_errno=True)


class Senders:
    """Finds out which processes have sent signals to this one, for the log. For the main thread of a supervisor.
    `poller`: the poller with which the supervisor waits; the signalfd is added to it.
    """

    def __init__(self, poller: Poll) -> None:
        self._descriptor = _signalfd()
        if self._descriptor >= 0:
            poller.add(self._descriptor, READABLE)
        forked.register(self)

    def close(self) -> None:
        """Close the signalfd: signals are still handled, but their senders are no longer logged. May be called more
        than once.
        """
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    close_in_child = close

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Context manager around a wait of the supervisor, during which signals are blocked. When it is left, each
        signal that has come is logged with its sender, and its handler is called.
        """
        if self._descriptor < 0:
            yield
            return
        handled = [number for number in WATCHED if callable(signal.getsignal(number))]
        signal.pthread_sigmask(signal.SIG_BLOCK, handled)
        try:
            yield
            came = list(self._read())
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
        for number, code, pid, user in came:
            if pid != os.getpid():  # else it is an order by the control socket, which the log has already
                log.info("%s from %s", signal.Signals(number).name.removeprefix("SIG"), sender(code, pid, user))
            handler: Callable[[int, Any], Any] = signal.getsignal(number)  # type: ignore[assignment]
            handler(number, None)

    def _read(self) -> Iterator[tuple[int, int, int, int]]:
        with suppress(BlockingIOError):
            while data := os.read(self._descriptor, _SIZE):
                number, _, code, pid, user = _FIELDS.unpack_from(data)
                yield number, code, pid, user


def sender(code: int, pid: int, user: int) -> str:
    """Return the sender of a signal in words, from fields of siginfo_t (sigaction(2))."""
    if code == _SI_KERNEL:
        return "the kernel: a key at the terminal, or its end"
    if not pid:
        return f"outside of this container's processes, user {user}"
    return process_in_words(pid, user)


def process_in_words(pid: int, user: int) -> str:
    """Return a process and its user in words: "pid 1 (systemd), user 0"."""
    name = ""
    with suppress(OSError):  # it has ended
        name = f" ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    return f"pid {pid}{name}, user {user}"


def _signalfd() -> int:
    """Return a descriptor (a signalfd) from which the signals in WATCHED can be read while they are blocked; -1 if the
    system does not have signalfd(2).
    """
    mask = (ctypes.c_ubyte * _SIGSET_BYTES)()
    try:
        for number in WATCHED:
            _libc.sigaddset(ctypes.byref(mask), int(number))
        return int(_libc.signalfd(-1, ctypes.byref(mask), _FLAGS))
    except AttributeError:
        return -1
