"""The coordinator of load processes on other machines, and the figures of a run with the part of each worker.

The coordinator receives the events of the processes through a topic of the Dask scheduler, and sends them the instants
at which to start by calls. Either way takes milliseconds, but no figure depends on that. Every second it asks each
worker whether it is still there: Dask alone would wait for a dead worker to return.
"""

# mypy: allow-untyped-calls
# (Dask has types in part.)
from __future__ import annotations

import contextlib
import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, KilledWorker

from septet.errors import Failed
from septet.lab.client import LoadLost
from septet.lab.cluster import worker_side
from septet.lab.cluster.launch import call_with_timeout
from septet.lab.cluster.workers import Offset, Worker
from septet.lab.load import Histogram, LoadError, NoListener, Notify, Plan
from septet.lab.load.processes import Coordinator
from septet.lab.load.tally import figures, unpacked

ASK_S = 1.0
SILENCE_S = 20.0
KILL_S = 5.0

Message = Callable[[], None]
"""A function without arguments that handles one message from a worker; `collect` calls it in the coordinator's own
thread.
"""


@dataclass
class RemoteProcess:
    """One process of the load generator, on a worker of the cluster."""

    worker: Worker
    plan: Plan
    """The part of the plan that this process carries out."""
    clock: Offset
    """By how many nanoseconds the clock of the process's machine is ahead of this machine's, and how exactly that is
    known.
    """
    answers: int = 0
    raw: dict[str, Any] | None = None
    """The counts that the process has sent (`Tally.raw`); None until they have come."""
    late_ns: int = 0
    """Nanoseconds between the common start instant and the time when the process began to measure, by our clock."""


class ClusterCoordinator(Coordinator[RemoteProcess]):
    """The coordinator of all processes of one run on a cluster."""

    notice_ns = 1_000_000_000

    def __init__(self, client: Client, plan: Plan, notify: Notify, workers: Sequence[tuple[Worker, Offset]]) -> None:
        super().__init__(plan, notify)
        self._client = client
        self._run = f"septet-load-{uuid.uuid4()}"
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._futures: dict[str, Future[dict[int, dict[str, Any]]]] = {}
        self._heard_s = dict.fromkeys((worker.address for worker, _ in workers), time.monotonic())
        self._begun: set[str] = set()
        """Addresses of the workers that have confirmed that the run has begun on them."""
        self._begin_ns = 0
        each = max(1, len(plan.cpus))
        of = each * len(workers)
        machines = Counter(worker.network_id for worker, _ in workers)
        for index in range(of):
            worker, clock = workers[index // each]
            share = plan.share(index, of, here=each * machines[worker.network_id])
            self.processes.append(RemoteProcess(worker, share, clock))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the processes on entering; on leaving, kill those that still run."""
        over = threading.Event()
        self._client.subscribe_topic(self._run, self._receive)
        try:
            for worker in self._workers():
                self._submit(worker)
                threading.Thread(target=self._watch, args=(worker, over), daemon=True).start()
            yield
        finally:
            over.set()
            with contextlib.suppress(ValueError):  # the scheduler has gone
                self._client.unsubscribe_topic(self._run)
            self._kill()

    def collect(self) -> list[RemoteProcess]:
        """Handle messages until every process has sent its counts, and return the processes.

        Raises LoadError when a process cannot carry out its share, LoadLost when a worker is lost, Failed for other
        errors.
        """
        while self._events["measured"] < len(self.processes) or any(process.raw is None for process in self.processes):
            try:
                self._inbox.get(timeout=ASK_S)()
            except queue.Empty:
                pass
            self._check_silence()
        return self.processes

    def interrupt(self) -> None:
        """Make all processes end now and send their counts so far."""
        self._client.run(worker_side.interrupt, self._run, workers=self._addresses(), on_error="return")

    def _submit(self, worker: Worker) -> None:
        plans = {
            number: process.plan.values() for number, process in enumerate(self.processes) if process.worker is worker
        }
        # Bound to its worker; Dask must not reuse an earlier result, nor run the task again.
        how = {"workers": [worker.address], "allow_other_workers": False, "pure": False, "retries": 0}
        future = self._client.submit(worker_side.carry_out, self._run, plans, **how)
        self._futures[worker.address] = future
        future.add_done_callback(lambda future: self._inbox.put(lambda: self._done(worker, future)))

    def _receive(self, event: tuple[float, dict[str, Any]]) -> None:
        _, said = event
        self._inbox.put(lambda: self.receive(self.processes[said["process"]], said["event"], said["details"]))

    def _watch(self, worker: Worker, over: threading.Event) -> None:
        """Ask the worker every second whether it is there, until `over` is set. Runs in a thread, because a call to a
        lost worker takes long."""
        while not over.wait(ASK_S):
            try:
                answers = self._client.run(worker_side.renew, self._run, workers=[worker.address], on_error="return")
            except Exception as error:  # any exception means that there was no answer
                answers = {worker.address: error}
            answer = answers.get(worker.address)
            self._inbox.put(lambda answer=answer: self._answered(worker, answer))  # type: ignore[misc]

    def _answered(self, worker: Worker, answer: object) -> None:
        """Handle a worker's answer to `worker_side.renew`: True if the run is under way on the worker, or False, or an
        exception, for which LoadLost is raised because the worker has gone.

        After False nothing is done. Either the run has ended there and its counts are about to arrive, or a new process
        has taken the worker's place; then no counts come, and `_check_silence` raises LoadLost later.
        """
        if self._futures[worker.address].done():
            return
        if answer is True:
            self._begun.add(worker.address)
            self._heard_s[worker.address] = time.monotonic()
        elif answer is not False:
            raise LoadLost(f"worker {worker.name} was lost")

    def _check_silence(self) -> None:
        for worker in self._workers():
            waited_s = time.monotonic() - self._heard_s[worker.address]
            if waited_s > SILENCE_S and not self._futures[worker.address].done():
                what = "was silent for" if worker.address in self._begun else "is busy, and did not begin for"
                raise LoadLost(f"worker {worker.name} {what} {SILENCE_S:g} s")

    def _done(self, worker: Worker, future: Future[dict[int, dict[str, Any]]]) -> None:
        """Store the counts that the load processes of a worker have returned through Dask. If they failed, raise their
        error with the name of the worker; LoadLost if the worker was lost.
        """
        try:
            raws = future.result()
        except NoListener as error:
            raise NoListener(f"worker {worker.name}: {error}") from None
        except LoadError as error:
            raise LoadError(f"worker {worker.name}: {error}") from None
        except KilledWorker:
            raise LoadLost(f"worker {worker.name} was lost") from None
        except Exception as error:  # an error of Dask, or a fault in our code
            raise Failed(f"worker {worker.name} did not do its share: {type(error).__name__}: {error}") from None
        for number, raw in raws.items():
            self.processes[number].late_ns = raw["begun_ns"] - self.processes[number].clock.ahead_ns - self._begin_ns
            self.receive(self.processes[number], "raw", raw)

    def _tell(self, instants_ns: Sequence[int]) -> None:
        """Tell each process the instant at which to start, in its machine's clock, with one call to all workers.

        `instants_ns`: the instants in our monotonic clock, in the order of the processes. Raises Failed when an instant
        had already passed when the worker received it.
        """
        theirs = {
            number: instant_ns + process.clock.ahead_ns
            for number, (process, instant_ns) in enumerate(zip(self.processes, instants_ns, strict=True))
        }
        answers = self._client.run(worker_side.tell, self._run, theirs, workers=self._addresses(), on_error="return")
        self._begin_ns = min(instants_ns)
        for worker in self._workers():
            if answers.get(worker.address) is False:
                raise Failed(f"worker {worker.name} heard of the common start too late: the network is too slow")

    def _kill(self) -> None:
        """Kill the load processes that still run. On a worker that cannot be reached, they end by themselves after
        LEASE_S seconds without a call of the coordinator.
        """
        left = {address: future for address, future in self._futures.items() if not future.done()}

        def kill() -> None:
            self._client.cancel(list(left.values()))  # tasks that have not begun do not begin
            self._client.run(worker_side.kill, self._run, workers=list(left), on_error="return")

        if left:
            call_with_timeout(KILL_S, kill)

    def _workers(self) -> list[Worker]:
        return list({process.worker.address: process.worker for process in self.processes}.values())

    def _addresses(self) -> list[str]:
        return list(self._heard_s)


def outcome(plan: Plan, processes: Sequence[RemoteProcess]) -> dict[str, Any]:
    """Merge the counts of all processes to the figures of the run.

    The entry `client` of the figures, which is about the load generator, also has the part of each worker (`workers`)
    and the CPU seconds that the load generator used on this machine (`here_s`).
    """
    found = figures(plan, [_raw(process) for process in processes])
    workers = list({process.worker.address: process.worker for process in processes}.values())
    parts = [
        _part([process for process in processes if process.worker is worker], _shares(processes)) for worker in workers
    ]
    found["client"] |= {
        "cpu_share": max(part["cpu_share"] for part in parts),
        "here_s": sum(_cpu_s(process) for process in processes if process.worker.here),
        "workers": parts,
    }
    return found


def _raw(process: RemoteProcess) -> dict[str, Any]:
    assert process.raw is not None, "a run that lacks the counts of a process has failed"
    return process.raw


def _part(processes: Sequence[RemoteProcess], shares: dict[object, float]) -> dict[str, Any]:
    """Return the figures of one worker, from all of its processes, for `client.workers` in results.json.
    `clock_ahead_us`: by how many µs the worker's monotonic clock is ahead of this machine's.
    """
    first, raws = processes[0], [_raw(process) for process in processes]
    return {
        "worker": first.worker.name,
        "processes": len(processes),
        "users": sum(process.plan.users for process in processes),
        "answers": _merged(raws, "latency").count,
        "errors": sum(sum(raw["errors"].values()) for raw in raws),
        "cpu_share": max(shares[_cpu_of(process)] for process in processes),
        "send_late_us": unpacked(*(raw["send_late"] for raw in raws)).summary()["p99"],
        "began_late_us": max(process.late_ns for process in processes) // 1000,
        "clock_ahead_us": first.clock.ahead_ns // 1000,
        "clock_uncertainty_us": first.clock.uncertainty_ns // 1000,
    }


def _merged(raws: Sequence[dict[str, Any]], name: str) -> Histogram:
    return unpacked(*(target[name] for raw in raws for target in raw["targets"]))


def _shares(processes: Sequence[RemoteProcess]) -> dict[object, float]:
    """Return, for each CPU that load processes are bound to, the share of its time that they used together. The keys
    are those of `_cpu_of`; a process that is not bound to a CPU has an entry of its own.
    """
    shares: dict[object, float] = {}
    for process in processes:
        shares[_cpu_of(process)] = shares.get(_cpu_of(process), 0.0) + _cpu_s(process) / _raw(process)["window_s"]
    return shares


def _cpu_of(process: RemoteProcess) -> object:
    return (process.worker.kernel_id, process.plan.cpus) if process.plan.cpus else id(process)


def _cpu_s(process: RemoteProcess) -> float:
    used = _raw(process)["client"]
    return float(used["user_s"] + used["system_s"])
