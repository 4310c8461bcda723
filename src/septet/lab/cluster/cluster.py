"""The cluster of load generators as `bench` and `load` use it: finds its workers, and runs a plan on all of them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from distributed import Client

from septet.errors import Failed
from septet.lab.client import LoadLost
from septet.lab.cluster import worker_side
from septet.lab.cluster.coordinator import ClusterCoordinator, outcome
from septet.lab.cluster.workers import PINGS, Offset, Ping, Worker, check_url, machines, offset, usable_workers
from septet.lab.load import LoadError, Notify, Plan

UNCERTAINTY_MAX_NS = 50_000_000
CURE = "name the server by an address that the workers reach"


class Cluster:
    """The workers of a Dask cluster: those that were connected when `opened` gave this object. A run fails if one of
    them is lost.
    """

    def __init__(self, client: Client, text: str) -> None:
        self._client = client
        self.text = text
        """The value of --cluster."""
        names = {address: worker["name"] for address, worker in client.scheduler_info()["workers"].items()}
        self.workers = usable_workers(names, client.run(worker_side.describe, on_error="return"))

    def machines(self) -> dict[str, Any]:
        """Return the versions and the machine of each worker, for a results file."""
        return machines(self.workers)

    def check_reach(self, url: str, cure: str = CURE) -> None:
        """Raise Failed unless every worker can connect to the URL, and the URL means the same machine for all of them.

        `cure`: what the error message tells the user to do.
        """
        check_url(url, self.workers, cure)
        for worker in self.workers:
            answer = self._client.run(worker_side.why_unreachable, url, workers=[worker.address])[worker.address]
            if answer is not None:
                raise Failed(f"worker {worker.name} does not reach {url} ({answer}): {cure}")

    def load(self, plan: Plan, notify: Notify) -> dict[str, Any]:
        """Carry the plan out, divided among the workers, and return the figures. Each worker starts a process of the
        load generator on each CPU that the plan names, or a single process if it names none.

        `notify` is called with each event of the load generator; Ctrl-C ends the run with the counts so far. Raises
        LoadError when a worker cannot carry out its share, and LoadLost when a worker is lost.
        """
        check_url(plan.url, self.workers, CURE)
        coordinator = ClusterCoordinator(
            self._client, plan, notify, [(worker, self._offset(worker)) for worker in self.workers]
        )
        with coordinator.running():
            try:
                processes = coordinator.collect()
            except KeyboardInterrupt:
                coordinator.interrupt()
                processes = coordinator.collect()
        return outcome(replace(plan, processes=len(processes)), processes)

    def load_cell(self, plan: Plan, receive: Notify, scenario: Path | None = None) -> dict[str, Any]:
        """Carry out the plan of one run of `septet bench` on the workers, as `client.load` does on this machine. The
        plan has its targets already, so `scenario` is not used. Raises KeyboardInterrupt when the run was interrupted.
        """
        try:
            figures = self.load(plan, receive)
        except LoadError as error:
            raise Failed(str(error)) from None
        if figures["interrupted"]:
            raise KeyboardInterrupt
        return figures

    def _offset(self, worker: Worker) -> Offset:
        """Measure the offset of a worker's clock. Raises Failed when it is not exact enough for a common start."""
        found = offset([self._ping(worker) for _ in range(PINGS)])
        if found.uncertainty_ns > UNCERTAINTY_MAX_NS:
            raise Failed(
                f"the clock of worker {worker.name} is known to {found.uncertainty_ns / 1e6:.0f} ms only, and the "
                f"common start needs {UNCERTAINTY_MAX_NS / 1e6:.0f}: the network is too slow"
            )
        return found

    def _ping(self, worker: Worker) -> Ping:
        sent_ns = time.monotonic_ns()
        try:
            there_ns = self._client.run(worker_side.clock, workers=[worker.address])[worker.address]
        except Exception:  # Dask raises exceptions of many kinds for a worker that has gone
            raise LoadLost(f"worker {worker.name} was lost") from None
        return Ping(sent_ns, there_ns, time.monotonic_ns())
