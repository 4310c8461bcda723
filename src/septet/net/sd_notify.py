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
    """The manager of the service whose main process this is. Made once, in that process. In forks of it the methods
    send nothing.
    """

    address: str = ""
    """The socket at which the manager listens: a path, or @ and an abstract name (unix(7)). Empty: there is no manager,
    and nothing is sent.
    """
    watchdog_s: float = 0.0
    """The manager ends the service if it hears no WATCHDOG=1 for so long; 0: it does not."""
    _pid: int = field(default_factory=os.getpid)
    _beat_at: float = 0.0
    """When WATCHDOG=1 is due, on the clock of `monotonic`."""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> "ServiceManager":
        """Return the manager that the environment names, and remove its variables there. What is no number or no
        address counts as none.
        """
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
        """Tell that the service has started, or that its reload is over, however that went. `status`: one line for the
        operator.
        """
        self._tell("READY=1", f"STATUS={_line(status)}")

    def reloading(self, status: str) -> None:
        """Tell that the service begins to load its configuration anew. `ready` must follow. `status`: as for it."""
        now_us = clock_gettime_ns(CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now_us}", f"STATUS={_line(status)}")

    def stopping(self) -> None:
        """Tell that the service begins to end. May be called in a signal handler."""
        self._tell("STOPPING=1", "STATUS=finishes its requests")

    def status(self, text: str) -> None:
        """Tell one line for the operator, which `systemctl status` shows."""
        self._tell(f"STATUS={_line(text)}")

    def main_pid(self) -> None:
        """Tell that this process is the main one, whatever program it executes now."""
        self._tell(f"MAINPID={os.getpid()}")

    def beat(self, alive: bool) -> None:
        """Tell that the service is alive, if it is, and if that is due by now."""
        if self.watchdog_s and alive and monotonic() >= self._beat_at:
            self._beat_at = monotonic() + self.beats_every_s / 2  # callers come a little early or late
            self._tell("WATCHDOG=1")

    def do_without_watchdog(self) -> None:
        """Have the manager wait for no WATCHDOG=1, since nothing in this process could send it."""
        if self.watchdog_s:
            self.watchdog_s = 0.0
            self._tell("WATCHDOG_USEC=0")

    def hand_over(self) -> dict[str, object]:
        """Return what the next program in this process needs to go on with the same manager, as arguments of this
        class.
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
    """Return the first line of a text: in a message each line is an assignment of its own."""
    return text.split("\n", 1)[0]
