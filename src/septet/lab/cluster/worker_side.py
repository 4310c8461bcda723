"""What runs on the workers of a cluster: the load of one run, and the calls of the coordinator meanwhile.

`carry_out` is a Dask task, in a thread. It starts processes of the load generator, so that the work of Dask does not
delay requests and answers. The other functions are short; Dask calls them on the event loop of the worker.
"""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import septet
from septet.lab import machine
from septet.lab.load import LoadError, Plan
from septet.lab.load.processes import WorkerProcess, listen

LEASE_S = 10.0
"""The run ends when the coordinator, which calls once a second, has not called for so long."""
REACH_S = 5.0

Say = Callable[[dict[str, Any]], None]


class Participant:
    """One run on this worker: its load processes, by their numbers among those of all workers."""

    def __init__(self) -> None:
        self.processes: dict[int, WorkerProcess] = {}
        self.renew()

    def renew(self) -> None:
        self._until = time.monotonic() + LEASE_S

    def collect(self, say: Say) -> dict[int, dict[str, Any]]:
        """The counts of each process; `say` receives all other events. Raises LoadError as the processes do."""
        numbers = {id(process): number for number, process in self.processes.items()}
        raws: dict[int, dict[str, Any]] = {}

        def receive(process: WorkerProcess, event: str, details: dict[str, Any]) -> None:
            number = numbers[id(process)]
            if event == "raw":
                raws[number] = details
            else:
                say({"process": number, "event": event, "details": details})

        listen(self.processes.values(), receive, self._check_lease)
        return raws

    def _check_lease(self) -> None:
        if time.monotonic() > self._until:
            raise LoadError(f"the coordinator was silent for {LEASE_S:g} s")


_participants: dict[str, Participant] = {}


def carry_out(run: str, plans: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Carry out these shares, one process each; returns their raw counts. Events go to the Dask topic `run`."""
    from distributed import get_worker

    worker, participant = get_worker(), Participant()
    _participants[run] = participant
    try:
        for number, values in plans.items():
            participant.processes[number] = WorkerProcess(Plan.from_values(dict(values)))
        return participant.collect(lambda said: worker.log_event(run, said))
    finally:
        del _participants[run]
        for process in participant.processes.values():
            process.end()


def renew(run: str) -> bool:
    """Called every second by the coordinator; whether the run is under way here."""
    if (participant := _participants.get(run)) is None:
        return False
    participant.renew()
    return True


def tell(run: str, instants_ns: Mapping[int, int]) -> bool:
    """Pass instants of this machine's clock to the processes; whether all of them are in the future."""
    if (participant := _participants.get(run)) is None:
        return True  # the run has ended, which its task reports
    for number, process in participant.processes.items():
        process.tell(instants_ns[number])
    return all(instants_ns[number] > time.monotonic_ns() for number in participant.processes)


def interrupt(run: str) -> None:
    """End the run with the counts so far."""
    if (participant := _participants.get(run)) is not None:
        for process in participant.processes.values():
            process.interrupt()


def kill(run: str) -> None:
    """End the run at once, without its counts."""
    if (participant := _participants.get(run)) is not None:
        for process in participant.processes.values():
            process.process.kill()


def clock() -> int:
    """This machine's monotonic clock, in nanoseconds."""
    return time.monotonic_ns()


def describe() -> dict[str, Any]:
    """What the coordinator must know of this worker before it gives it a share."""
    return {
        "septet": septet.__version__,
        "python": platform.python_version(),
        "kernel_id": kernel_id(),
        "network_id": network_id(),
        "machine": machine.describe(),
    }


def kernel_id() -> str:
    """Identifies the running kernel, and so the machine, in containers too (proc_sys_kernel(5))."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"unknown, of {socket.gethostname()} and {os.getpid()}"


def network_id() -> str:
    """Identifies the network namespace of that kernel, in which the loopback and the ports are shared."""
    try:
        return f"{kernel_id()} {os.readlink('/proc/self/ns/net')}"
    except OSError:
        return kernel_id()


def why_unreachable(url: str) -> str | None:
    """Why the URL cannot be reached from here; None when a connection was accepted."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=REACH_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None
