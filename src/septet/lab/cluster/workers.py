"""The workers of a cluster: checks that they can be used, and measures how far their clocks are from ours.

The offset of a clock is measured by round trips (Cristian 1989). The other clock was read at some instant between
sending and receiving. Its reading is compared with the middle of the quickest of many round trips: the error is at most
half of that round trip, however unequal the two ways are.
"""

from __future__ import annotations

import ipaddress
import platform
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import septet
from septet.errors import Failed
from septet.lab.cluster.worker_side import kernel_id, network_id
from septet.lab.load.plan import split


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker of the cluster. Workers with equal `kernel_id` share a machine; those with equal `network_id` also
    share its loopback and ports."""

    address: str
    """Address of the worker within Dask."""
    name: str
    """Name of the worker in messages and figures."""
    septet: str
    python: str
    kernel_id: str
    network_id: str
    machine: dict[str, Any]

    @property
    def here(self) -> bool:
        """True if the worker runs on this machine, as the server does, and so takes CPU time from it."""
        return self.kernel_id == kernel_id()


def usable_workers(names: Mapping[str, object], answers: Mapping[str, object]) -> tuple[Worker, ...]:
    """Return the workers, sorted by name. Raises Failed when there are none, or one cannot be used.

    Args:
        names: the name of each worker, by its address within Dask.
        answers: what `worker_side.describe` returned, or the exception that it raised, by address.
    """
    if not answers:
        raise Failed("the cluster has no workers")
    workers = []
    for address, answer in sorted(answers.items()):
        name = _title(address, names.get(address))
        if isinstance(answer, ModuleNotFoundError):
            raise Failed(f"worker {name} cannot load anything: there is {str(answer).lower()} there; install septet")
        if not isinstance(answer, dict):
            raise Failed(f"worker {name} cannot be asked what it is: {answer!r}")
        workers.append(Worker(address, name, **answer))
    for worker in workers:
        _check_versions(worker)
    return tuple(sorted(workers, key=lambda worker: worker.name))


def _title(address: str, name: object) -> str:
    """Return the name that the user gave the worker, else its address without the scheme."""
    return name if isinstance(name, str) and "://" not in name else address.partition("://")[2]


def _check_versions(worker: Worker) -> None:
    """Raise Failed if the worker has another version of Septet than this machine, or another minor version of Python,
    whose speed differs.
    """
    ours, theirs = platform.python_version(), worker.python
    if worker.septet != septet.__version__:
        raise Failed(f"worker {worker.name} has septet {worker.septet}, and here is {septet.__version__}: take one")
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise Failed(f"worker {worker.name} runs Python {theirs}, and here is {ours}: take one")


def check_url(url: str, workers: Sequence[Worker], cure: str) -> None:
    """Raise Failed if the URL has a loopback address and a worker runs on another machine, because that worker would
    load its own machine.

    `cure`: what the error message tells the user to do.
    """
    parts, port = split(url)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError:
        return  # the workers may be able to resolve it
    if not any(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found):
        return
    ours = network_id()
    if strangers := [worker.name for worker in workers if worker.network_id != ours]:
        raise Failed(f"{parts.netloc} is another machine for worker {strangers[0]}: {cure}")


def machines(workers: Sequence[Worker]) -> dict[str, Any]:
    """Return the version and the machine of each worker by its name, for a results file. Host names are left out unless
    the user gave them as names.
    """
    return {
        worker.name: {"septet": worker.septet, "python": worker.python, "here": worker.here, "machine": worker.machine}
        for worker in workers
    }


PINGS = 20


class Ping(NamedTuple):
    """Three instants of a round trip: a question to another machine about its clock, and the answer. They are in
    nanoseconds of the monotonic clocks of the two machines.
    """

    sent_ns: int
    """When we sent the question, by our clock."""
    there_ns: int
    """When the other machine answered it, by its own clock."""
    received_ns: int
    """When we received the answer, by our clock."""


class Offset(NamedTuple):
    """By how many nanoseconds the other machine's clock is ahead of ours, and the largest error of that number, in
    nanoseconds too.
    """

    ahead_ns: int
    uncertainty_ns: int


def offset(pings: Iterable[Ping]) -> Offset:
    """Compute the offset of the other machine's clock from the quickest ping, whose error is least. Raises ValueError
    without pings."""
    best = min(pings, key=lambda ping: ping.received_ns - ping.sent_ns)
    round_trip_ns = best.received_ns - best.sent_ns
    return Offset(best.there_ns - best.sent_ns - round_trip_ns // 2, (round_trip_ns + 1) // 2)
