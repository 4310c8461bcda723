"""A run of the load generator, in this process or with a process on each CPU that the plan names.

The coordinator starts the processes, talks to them through pipes, makes them begin the measured window at one instant,
and adds their counts up. They share the clock of the machine. A process that fails ends the run. `Coordinator` is the
part that does not depend on pipes: `septet.lab.cluster` has a coordinator of processes on other machines.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from .limits import prepare
from .loop import Notify
from .plan import LoadError, NoListener, Plan
from .run import OwnStart, Warmup, carry_out, warmup
from .seconds import Merger
from .tally import figures

READ_BYTES = 1 << 20
CHORES_S = 0.5
STDIN = 0

Event = tuple[str, dict[str, Any]]


def run(plan: Plan, notify: Notify = lambda event, details: None) -> dict[str, Any]:
    """Load the server as planned and return the figures of the time after the warm-up.

    `notify` is called with the events "came" (all users have had a first answer, or no more are waited for), "progress"
    (four times a second), "measuring" (the window begins) and "measured" (it has ended). Ctrl-C ends the run early with
    the figures so far, marked `interrupted`. Raises LoadError, before anything is sent, when the plan cannot be carried
    out here, and NoListener when nothing listens at the URL.
    """
    check_cpus(plan.cpus)
    if len(plan.cpus) > 1:
        return figures(plan, coordinate(plan, notify))
    with bound_to(plan.cpus):
        return figures(plan, [carry_out(plan, notify, OwnStart(plan))])


def check_cpus(cpus: tuple[int, ...]) -> None:
    """Raise LoadError if this process may not run on one of the CPUs."""
    usable = os.sched_getaffinity(0)
    if wrong := [str(cpu) for cpu in cpus if cpu not in usable]:
        raise LoadError(f"CPU {wrong[0]} is not usable here; there are {', '.join(map(str, sorted(usable)))}")


@contextmanager
def bound_to(cpus: tuple[int, ...]) -> Iterator[None]:
    """Bind this thread to the CPUs, if there are any, for as long as the context lasts.

    Processes that are started meanwhile inherit the affinity of this thread (sched_setaffinity(2)).
    """
    before = os.sched_getaffinity(0)
    if cpus:
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# Coordinators of any processes.


class Coordinated(Protocol):
    """What the coordinator, which starts the processes of a run of the load generator and adds their counts up, keeps
    about each process.
    """

    answers: int
    """Number of right answers that the process has counted, by its last report of progress."""
    raw: dict[str, Any] | None
    """All counts of the process; None until it has finished."""


P = TypeVar("P", bound=Coordinated)


class Coordinator(ABC, Generic[P]):
    """Receives the events that the processes of a run report (such as: all users have arrived), and tells the processes
    when to send the first request and when to begin the measured window.
    """

    notice_ns: int
    """Nanoseconds between telling the processes an instant, at which all are to send their first requests or to begin
    the measured window, and that instant. It is long enough for all of them to learn it in time.
    """

    def __init__(self, plan: Plan, notify: Notify) -> None:
        self._plan = plan
        self._notify = notify
        self._events: Counter[str] = Counter()
        """For each name of an event, the number of processes that have reported that event."""
        self._warmup: Warmup | None = warmup(plan)
        self.processes: list[P] = []
        self._seconds = Merger(len(plan.cpus), lambda piece: notify("second", piece)) if plan.seconds else None

    @abstractmethod
    def _tell(self, instants_ns: Sequence[int]) -> None:
        """Send each process an instant: the first time that of its first request, the second time that at which its
        measured window begins. `instants_ns` has one for each of `processes`, in the same order, in nanoseconds of this
        machine's monotonic clock.
        """

    def receive(self, process: P, event: str, details: dict[str, Any]) -> None:
        """Handle an event that a process has reported: add up counts and progress. Other events, such as "measuring",
        are passed on to `notify` once, when all processes have reported them.
        """
        if event == "raw":
            process.raw = details
            if self._seconds is not None:
                self._seconds.finish(self.processes.index(process))
            return
        if event == "second":
            assert self._seconds is not None, "the plan has it"
            self._seconds.receive(self.processes.index(process), details)
            return
        if event == "progress":
            process.answers = details["answers"]
            self._progress(sum(each.answers for each in self.processes))
            return
        self._events[event] += 1
        if self._events[event] == len(self.processes):
            if event == "ready":
                self._align()
            else:
                self._notify(event, {})

    def _progress(self, answers: int) -> None:
        self._notify("progress", {"answers": answers})
        arrived = self._events["ready"] == len(self.processes)
        if arrived and self._warmup is not None and self._warmup.over(time.monotonic(), answers):
            self._warmup = None
            self._tell([time.monotonic_ns() + self.notice_ns] * len(self.processes))

    def _align(self) -> None:
        """Send each process the instant of its first request. If the plan has a rate, the instants differ by the
        interval between two requests, so that requests of different processes are spread evenly.
        """
        first_ns = time.monotonic_ns() + self.notice_ns
        interval_ns = 0 if self._plan.rate is None else 1e9 / self._plan.rate
        self._tell([first_ns + int(index * interval_ns) for index in range(len(self.processes))])


# A coordinator of processes on this machine.


class WorkerProcess:
    """One process of the load generator on this machine, started with its share of a plan, and the pipes to it."""

    def __init__(self, plan: Plan) -> None:
        package = __package__ or "load"
        root = Path(__file__).parents[package.count(".") + 1]
        path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", package, "--worker-process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the coordinator, which passes it on
        )
        self.answers = 0
        self.raw: dict[str, Any] | None = None
        self._unread = b""
        self.tell(json.dumps(plan.values()))

    def tell(self, line: object) -> None:
        assert self.process.stdin is not None, "it was started with a pipe"
        self.process.stdin.write(f"{line}\n".encode())

    def fileno(self) -> int:
        assert self.process.stdout is not None, "it was started with a pipe"
        return self.process.stdout.fileno()

    def events(self) -> Iterator[Event]:
        """Read the events that the process has reported, each as (name, details); to be called when its pipe is
        readable.

        Raises LoadError if the process cannot carry out its plan, or if it ends without reporting its counts;
        NoListener if it has found no server at the URL.
        """
        data = os.read(self.fileno(), READ_BYTES)
        if not data:
            raise LoadError(f"a process of the load generator ended with status {self.process.wait()} and no figures")
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            details = json.loads(line)
            event = details.pop("event")
            if event == "refused":
                raise (LoadError if details["listens"] else NoListener)(details["reason"])
            yield event, details

    def interrupt(self) -> None:
        """Make the process end its run now, by SIGINT, and report its counts so far."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> None:
        self.process.kill()
        with self.process:  # closes the pipes and waits
            pass


Receive = Callable[[WorkerProcess, str, dict[str, Any]], None]


class LocalCoordinator(Coordinator[WorkerProcess]):
    """The coordinator of processes on this machine, each on a CPU of its own."""

    notice_ns = 200_000_000

    def start(self) -> None:
        of = len(self._plan.cpus)
        for index in range(of):
            self.processes.append(WorkerProcess(self._plan.share(index, of)))

    def collect(self) -> list[dict[str, Any]]:
        """Handle events until every process has sent its counts; returns them."""
        listen([process for process in self.processes if process.raw is None], self.receive)
        return [process.raw for process in self.processes if process.raw is not None]

    def interrupt(self) -> None:
        for process in self.processes:
            process.interrupt()

    def _tell(self, instants_ns: Sequence[int]) -> None:
        for process, instant_ns in zip(self.processes, instants_ns, strict=True):
            process.tell(instant_ns)


def listen(processes: Iterable[WorkerProcess], receive: Receive, chore: Callable[[], None] = lambda: None) -> None:
    """Pass the events that the processes report to `receive`, until each process has reported its counts.

    `chore` is called at least twice a second. Raises LoadError as `WorkerProcess.events` does.
    """
    with selectors.DefaultSelector() as selector:
        for process in processes:
            selector.register(process, selectors.EVENT_READ, process)
        while selector.get_map():
            chore()
            for key, _ in selector.select(CHORES_S):
                for event, details in key.data.events():
                    receive(key.data, event, details)
                    if event == "raw":
                        selector.unregister(key.data)


def coordinate(plan: Plan, notify: Notify) -> list[dict[str, Any]]:
    """Carry the plan out with one process on each of its CPUs; returns the raw counts of each."""
    prepare(plan)
    coordinator = LocalCoordinator(plan, notify)
    try:
        coordinator.start()
        try:
            return coordinator.collect()
        except KeyboardInterrupt:
            coordinator.interrupt()
            return coordinator.collect()
    finally:
        for process in coordinator.processes:
            process.end()


# A process that is coordinated.


class CoordinatedStart:
    """The start signal of a process with a coordinator: two lines on its standard input, after the line with the plan.

    Each has an instant in nanoseconds of the monotonic clock: that of the first request, and that at which the measured
    window begins.
    """

    at_once = False

    def arrived(self) -> int:
        say("ready", {})
        return int(read_line())

    def over(self, answers: int) -> bool:
        return bool(select.select([STDIN], [], [], 0)[0])

    def begin_ns(self) -> int:
        return int(read_line())


def run_worker_process() -> int:
    """Carry out the part of a plan that the coordinator sends to this process on standard input. Returns the exit
    status: 0, or 2 if the plan cannot be carried out.
    """
    try:
        plan = Plan.from_values(json.loads(read_line()))
        if plan.cpus:
            check_cpus(plan.cpus)
            os.sched_setaffinity(0, plan.cpus)
        say("raw", carry_out(plan, say, CoordinatedStart()))
    except LoadError as error:
        refuse(error)
        return 2
    return 0


def read_line() -> str:
    """Read one line of standard input, and not a byte more: CoordinatedStart asks select(2) whether a further line has
    come, which would not see a line in a buffer of Python.

    Raises LoadError at the end of the input.
    """
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(STDIN, 1)
        if not byte:
            raise LoadError("the coordinator has gone")
        line += byte
    return line.decode()


def refuse(error: LoadError) -> None:
    say("refused", {"reason": str(error), "listens": not isinstance(error, NoListener)})


def say(event: str, details: dict[str, Any]) -> None:
    """Print one event as a line of JSON on standard output."""
    print(json.dumps({"event": event, **details}), flush=True)
