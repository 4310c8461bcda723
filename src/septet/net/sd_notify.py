"""Tells the service manager how the server is: READY, RELOADING, STOPPING, STATUS, MAINPID and WATCHDOG (sd_notify(3)).

NOTIFY_SOCKET has the manager's address, and WATCHDOG_USEC the time of its watchdog. Both are removed from the
environment before anything else is started, so that neither the application nor a program that it starts can speak for
the server. (The manager refuses other processes as well: systemd's default is NotifyAccess=main.)

Sending never waits and never fails: the server goes on without a manager that does not listen.
"""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import CLOCK_MONOTONIC, clock_gettime_ns, monotonic

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@dataclass(slots=True)
class ServiceManager:
    """The manager of the service whose main process this is. Made once, in that process; in forked processes its
    methods send nothing.
    """

    address: str = ""
    """The socket at which the manager listens: a path, or @ and an abstract name (unix(7)). Empty: there is no manager,
    and nothing is sent.
    """
    watchdog_s: float = 0.0
    """Seconds after which the manager ends the service if it has received no WATCHDOG=1; 0: it does not."""
    _pid: int = field(default_factory=os.getpid)
    _beat_at: float = 0.0
    """When WATCHDOG=1 is due, on the clock of `time.monotonic`."""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> "ServiceManager":
        """Return the manager that the environment names, and remove its variables there. Invalid values count as
        missing.
        """
        address, watchdog, pid = (environ.pop(name, "") for name in _VARIABLES)
        if not address.startswith(("/", "@")):
            return cls()
        is_for_us = pid in ("", str(os.getpid()))
        return cls(address, int(watchdog) / 1e6 if is_for_us and watchdog.isdecimal() else 0.0)

    @property
    def beats_every_s(self) -> float:
        """The longest time in seconds that may pass between two calls of `beat`: half the watchdog's time
        (sd_watchdog_enabled(3)); infinite if there is no watchdog.
        """
        return self.watchdog_s / 2 if self.watchdog_s else float("inf")

    def ready(self, status: str) -> None:
        """Tell the service manager that the service has started, or that a reload has ended, whether it succeeded or
        failed. `status` is one line for the operator.
        """
        self._tell("READY=1", f"STATUS={_line(status)}")

    def reloading(self, status: str) -> None:
        """Tell the service manager that the service begins to load its configuration anew. `ready` must be called
        afterwards. `status` is one line for the operator.
        """
        now_us = clock_gettime_ns(CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now_us}", f"STATUS={_line(status)}")

    def stopping(self) -> None:
        """Tell the service manager that the service begins to end. May be called in a signal handler."""
        self._tell("STOPPING=1", "STATUS=finishes its requests")

    def status(self, text: str) -> None:
        """Give the service manager one line for the operator, which `systemctl status` shows."""
        self._tell(f"STATUS={_line(text)}")

    def main_pid(self) -> None:
        """Tell the service manager that this process is the main one of the service. Called by a program that this
        process has executed in place of the one before (USR2).
        """
        self._tell(f"MAINPID={os.getpid()}")

    def beat(self, alive: bool) -> None:
        """Send WATCHDOG=1 to the service manager if `alive` is true and a quarter of the watchdog's time has passed
        since this was last sent.
        """
        if self.watchdog_s and alive and monotonic() >= self._beat_at:
            self._beat_at = monotonic() + self.beats_every_s / 2  # callers come a little early or late
            self._tell("WATCHDOG=1")

    def do_without_watchdog(self) -> None:
        """Turn the manager's watchdog off, because nothing in this process could send WATCHDOG=1."""
        if self.watchdog_s:
            self.watchdog_s = 0.0
            self._tell("WATCHDOG_USEC=0")

    def hand_over(self) -> dict[str, object]:
        """Return the keyword arguments with which a program that this process executes in its place makes a
        ServiceManager for the same manager.
        """
        return {"address": self.address, "watchdog_s": self.watchdog_s}

    def _tell(self, *assignments: str) -> None:
        if not self.address or os.getpid() != self._pid:
            return
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(assignments).encode(errors="replace"), name)


def _line(text: str) -> str:
    """Return the first line of `text`. The message to the service manager can have no more of it, because there
    each line is an assignment of its own.
    """
    return text.split("\n", 1)[0]
