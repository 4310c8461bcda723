"""The functions that run on the workers of a cluster: the load of one run, and the calls of the coordinator meanwhile.

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
"""A worker ends a run if the coordinator, which calls `renew` once a second, has not called for this many seconds."""
REACH_S = 5.0

Say = Callable[[dict[str, Any]], None]


class Participant:
    """This worker's share of one run: its load processes, whose numbers are unique over all workers, and the time until
    which they may run. Each call of `renew` by the coordinator extends that time.
    """

    def __init__(self) -> None:
        self.processes: dict[int, WorkerProcess] = {}
        self.renew()

    def renew(self) -> None:
        self._until = time.monotonic() + LEASE_S

    def collect(self, say: Say) -> dict[int, dict[str, Any]]:
        """Wait for the processes to end, and return the raw counts of each by its number. `say` is called with every
        other event of the processes.

        Raises LoadError when a process cannot carry out its plan, or when the coordinator has not called `renew` for
        LEASE_S seconds.
        """
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
    """Carry out the plans, one process each; returns the raw counts by the number of the process.

    Events are sent to the Dask topic `run`, which identifies the run.
    """
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
    """Let the load processes of this run go on for LEASE_S seconds from now. The coordinator calls this every second,
    so that they end if it is gone. Returns False if the run is not under way on this worker.
    """
    if (participant := _participants.get(run)) is None:
        return False
    participant.renew()
    return True


def tell(run: str, instants_ns: Mapping[int, int]) -> bool:
    """Give the load processes of the run the instants at which to start, by the number of the process and in
    nanoseconds of this machine's monotonic clock.

    Returns False if one of the instants has already passed, because the processes cannot start together then; else
    True.
    """
    if (participant := _participants.get(run)) is None:
        return True  # the run has ended, which its task reports
    for number, process in participant.processes.items():
        process.tell(instants_ns[number])
    return all(instants_ns[number] > time.monotonic_ns() for number in participant.processes)


def interrupt(run: str) -> None:
    """End the run early; its processes send their counts so far."""
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
    """Return the versions of Septet and Python, and the machine, of this worker. The coordinator checks by them whether
    it can use the worker.
    """
    return {
        "septet": septet.__version__,
        "python": platform.python_version(),
        "kernel_id": kernel_id(),
        "network_id": network_id(),
        "machine": machine.describe(),
    }


def kernel_id() -> str:
    """Return an id of the running kernel, equal in all containers of a machine (boot_id, proc_sys_kernel(5))."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"unknown, of {socket.gethostname()} and {os.getpid()}"


def network_id() -> str:
    """Return an id of this process's network namespace: workers with equal ids share the loopback and its ports."""
    try:
        return f"{kernel_id()} {os.readlink('/proc/self/ns/net')}"
    except OSError:
        return kernel_id()


def why_unreachable(url: str) -> str | None:
    """Try to connect to the URL from here; returns the error as text, None when a connection was accepted."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=REACH_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None
