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
from septet.lab.load.processes import Member, listen

LEASE_S = 10.0  # without a word from the leader, who has a word once a second: nobody is left to want the load
REACH_S = 5.0

Say = Callable[[dict[str, Any]], None]


class Party:
    """The processes of one run on this worker, by their numbers in the whole crew."""

    def __init__(self) -> None:
        self.members: dict[int, Member] = {}
        self.renew()

    def renew(self) -> None:
        self._until = time.monotonic() + LEASE_S

    def raws(self, say: Say) -> dict[int, dict[str, Any]]:
        """What each process counted; `say` is told all else that they say. Raises LoadError as they do."""
        numbers = {id(member): number for number, member in self.members.items()}
        raws: dict[int, dict[str, Any]] = {}

        def hear(member: Member, event: str, details: dict[str, Any]) -> None:
            number = numbers[id(member)]
            if event == "raw":
                raws[number] = details
            else:
                say({"member": number, "event": event, "details": details})

        listen(self.members.values(), hear, self._check_lease)
        return raws

    def _check_lease(self) -> None:
        if time.monotonic() > self._until:
            raise LoadError(f"nothing was heard of the leader for {LEASE_S:g} s")


_parties: dict[str, Party] = {}


def carry_out(run: str, plans: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Carry out these shares, one process each; returns their raw counts. Events go to the topic `run`."""
    from distributed import get_worker

    worker, party = get_worker(), Party()
    _parties[run] = party
    try:
        for number, values in plans.items():
            party.members[number] = Member(Plan.from_values(dict(values)))
        return party.raws(lambda said: worker.log_event(run, said))
    finally:
        del _parties[run]
        for member in party.members.values():
            member.end()


def renew(run: str) -> bool:
    """The leader is there; whether the run is under way here."""
    if (party := _parties.get(run)) is None:
        return False
    party.renew()
    return True


def tell(run: str, instants_ns: Mapping[int, int]) -> bool:
    """Hand instants of this machine's clock to the processes; whether all of them are still to come."""
    if (party := _parties.get(run)) is None:
        return True  # it has ended, and says so itself
    for number, member in party.members.items():
        member.tell(instants_ns[number])
    return all(instants_ns[number] > time.monotonic_ns() for number in party.members)


def interrupt(run: str) -> None:
    """End the run with the counts so far."""
    if (party := _parties.get(run)) is not None:
        for member in party.members.values():
            member.interrupt()


def kill(run: str) -> None:
    """End the run at once; nobody wants its counts."""
    if (party := _parties.get(run)) is not None:
        for member in party.members.values():
            member.process.kill()


def clock() -> int:
    """This machine's monotonic clock, in nanoseconds."""
    return time.monotonic_ns()


def describe() -> dict[str, Any]:
    """What the leader must know of this worker before it trusts it with a share."""
    return {
        "septet": septet.__version__,
        "python": platform.python_version(),
        "kernel_id": kernel_id(),
        "network_id": network_id(),
        "machine": machine.describe(),
    }


def kernel_id() -> str:
    """One running kernel, and so one machine, whatever containers call it (proc_sys_kernel(5))."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"unknown, of {socket.gethostname()} and {os.getpid()}"


def network_id() -> str:
    """One network namespace of that kernel: where 127.0.0.1 is the same, and so are the ports."""
    try:
        return f"{kernel_id()} {os.readlink('/proc/self/ns/net')}"
    except OSError:
        return kernel_id()


def why_unreachable(url: str) -> str | None:
    """None when somebody listens at the URL, as seen from here."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=REACH_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None
