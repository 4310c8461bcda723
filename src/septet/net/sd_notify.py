"""What the service manager is told: READY, RELOADING, STOPPING, STATUS, MAINPID and WATCHDOG, as sd_notify(3) has it.

The address of the manager is in NOTIFY_SOCKET, and the time of its watchdog in WATCHDOG_USEC. Both are taken out of the
environment before anything else is started, so that neither the application nor a program of its own speaks for the
server. (A process that finds the address in another way is refused by the manager itself: NotifyAccess=main is the
default of systemd, and only the first process is the main one.)

What is said is never waited for and never fails: a manager that does not listen is no reason to stop serving.
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
    """The manager of the service whose main process this is. Made once, in that process; those that it forks say
    nothing.

    address: a path, or @ and an abstract name (unix(7)); empty: there is no manager, and nothing is done.
    """

    address: str = ""
    watchdog_s: float = 0.0
    """The manager ends the service if it hears no WATCHDOG=1 for so long; 0: it does not."""
    _pid: int = field(default_factory=os.getpid)
    _beat_at: float = 0.0
    """When WATCHDOG=1 is due, on the clock of `monotonic`."""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> "ServiceManager":
        """The manager that the environment names; its variables are removed. Text that is no number or no address
        counts as none."""
        address, watchdog, pid = (environ.pop(name, "") for name in _VARIABLES)
        if not address.startswith(("/", "@")):
            return cls()
        is_for_us = pid in ("", str(os.getpid()))
        return cls(address, int(watchdog) / 1e6 if is_for_us and watchdog.isdecimal() else 0.0)

    @property
    def beats_every_s(self) -> float:
        """Seconds between two calls of `beat` at most: half the time of the watchdog, as sd_watchdog_enabled(3) has
        it; infinite without one."""
        return self.watchdog_s / 2 if self.watchdog_s else float("inf")

    def ready(self, status: str) -> None:
        """The service has started, or its reload is over, however that went. `status`: one line for the operator."""
        self._tell("READY=1", f"STATUS={_line(status)}")

    def reloading(self, status: str) -> None:
        """The service begins to load its configuration anew; `ready` must follow."""
        now_us = clock_gettime_ns(CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now_us}", f"STATUS={_line(status)}")

    def stopping(self) -> None:
        """The service begins to end. May be called in a signal handler."""
        self._tell("STOPPING=1", "STATUS=finishes its requests")

    def status(self, text: str) -> None:
        """One line for the operator, which `systemctl status` shows."""
        self._tell(f"STATUS={_line(text)}")

    def main_pid(self) -> None:
        """This process is the main process, whatever program it executes now."""
        self._tell(f"MAINPID={os.getpid()}")

    def beat(self, alive: bool) -> None:
        """Say that the service is alive, if it is, and if that is due by now."""
        if self.watchdog_s and alive and monotonic() >= self._beat_at:
            self._beat_at = monotonic() + self.beats_every_s / 2  # callers come a little early or late
            self._tell("WATCHDOG=1")

    def do_without_watchdog(self) -> None:
        """Have the manager wait for no WATCHDOG=1: in this process there is nothing that could say it."""
        if self.watchdog_s:
            self.watchdog_s = 0.0
            self._tell("WATCHDOG_USEC=0")

    def hand_over(self) -> dict[str, object]:
        """What another program, in this process, needs to go on with the same manager: arguments for this class."""
        return {"address": self.address, "watchdog_s": self.watchdog_s}

    def _tell(self, *assignments: str) -> None:
        if not self.address or os.getpid() != self._pid:
            return
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(assignments).encode(errors="replace"), name)


def _line(text: str) -> str:
    """The first line of a text: a message is a line for each assignment."""
    return text.split("\n", 1)[0]
