"""USR2: the supervisor replaces its program by execve(2), in the same process.

Its pid, its children and its descriptors stay, so a container, a service manager and clients notice nothing. What
changes is the program: another version of Septet or of Python, or other options. The old program describes its
listeners and generations in an environment variable. The new program reads the configuration and that variable, and
starts a generation of its own; when this one is ready, the old generation drains, as it does at HUP.

There is no way back from execve(2). So the new program is tried first, in a child that reads the configuration, reports
that it can serve it, and ends. If the trial fails, the old program goes on. If the new generation cannot start later,
the old generation goes on under the new supervisor.

Signals are blocked before execve(2), and unblocked when the new program has set its handlers: blocked and pending
signals survive execve(2), handlers do not (signal(7)).
"""

import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from septet.processes.children import ORDERS
from septet.processes.orders import Stop
from septet.processes.other_signals import HANDLED_SIGNALS

HANDOVER = "_SEPTET_HANDOVER"
"""The environment variable with what the old program hands over, as JSON."""
TRIAL = "_SEPTET_TRIAL"
"""The environment variable with the number of the descriptor on which a program on trial reports that it can serve."""

_SAID = b"can serve"

BLOCKED = (*ORDERS, *HANDLED_SIGNALS, signal.SIGCHLD)
"""Signals that are blocked before execve(2) replaces the program of this process (USR2), until the new program has set
its handlers.
"""


@dataclass(slots=True)
class Trial:
    """The child process in which, at USR2, the new program is tried before it replaces the program of this process."""

    pid: int
    pipe: int
    """Descriptor of the reading end of the pipe on which the child reports that it can serve."""
    until: float
    """When the child is killed, on the clock of `time.monotonic`."""

    @classmethod
    def start(cls, timeout: float) -> "Trial":
        """Start, in a child, the program that this process would execute. The child is to be killed if it runs for
        longer than `timeout` seconds. Raises OSError.
        """
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            os.set_inheritable(writing, True)
            pid = os.posix_spawn(sys.executable, sys.orig_argv, {**os.environ, TRIAL: str(writing)})
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return cls(pid, reading, monotonic() + timeout)

    def has_succeeded(self, status: int) -> bool:
        """Return True if the child has reported that the new program can serve, and has ended with success. `status`:
        the child's status as waitpid(2) gives it. Closes the pipe.
        """
        os.set_blocking(self.pipe, False)
        with suppress(BlockingIOError):
            said = os.read(self.pipe, 64)
            return status == 0 and said == _SAID
        return False

    def close(self) -> None:
        os.close(self.pipe)

    def kill_if_late(self) -> None:
        if monotonic() > self.until:
            self.kill()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def is_trial() -> bool:
    """True if this program is on trial, in a child of the program that it is to replace."""
    return TRIAL in os.environ


def report_success() -> None:
    """Report that this program, which is on trial in a child process, can serve, to the process that has started the
    trial.
    """
    os.write(int(os.environ[TRIAL]), _SAID)


def execute(state: dict[str, Any], stop: Stop) -> None:
    """Replace the program of this process by the one that its command line names, by execve(2), and hand `state` over
    to it. Returns only if the order to stop has come first; raises OSError if that fails. Descriptors that `state`
    names stay open in the new program.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    try:
        if not stop.ordered:  # from here on, signals wait for the new program
            os.execve(sys.executable, sys.orig_argv, {**os.environ, HANDOVER: json.dumps(state)})
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)


def handed_over() -> dict[str, Any] | None:
    """Return the state that the previous program of this process has handed over at USR2, and remove it from the
    environment, so this is called once. None: this process has had no previous program.
    """
    text = os.environ.pop(HANDOVER, None)
    return None if text is None else json.loads(text)
