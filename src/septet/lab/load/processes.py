"""A run of the load generator, in this process or with a process on each CPU that the plan names.

The coordinator starts the processes, speaks to them by pipes, lets them begin the measured window at one instant, and
adds their counts up. They share the clock of the machine. A process that fails ends the run. `Leader` is the part that
does not depend on pipes: `septet.lab.cluster` has a coordinator of processes on other machines.
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
from .plan import LoadError, NobodyListens, Plan
from .run import OwnCue, Warmup, carry_out
from .tally import figures

READ_BYTES = 1 << 20
CHORES_S = 0.5
STDIN = 0

Event = tuple[str, dict[str, Any]]


def run(plan: Plan, notify: Notify = lambda event, details: None) -> dict[str, Any]:
    """Load the server as planned and return the figures of the time after the warm-up.

    `notify` hears of "came", "progress" (four times a second), "measuring" and "measured". Ctrl-C ends the run early
    with the figures so far, marked `interrupted`. Raises LoadError, before anything is sent, when it cannot be done
    here, and when nobody listens at the URL.
    """
    check_cpus(plan.cpus)
    if len(plan.cpus) > 1:
        return figures(plan, lead(plan, notify))
    with bound_to(plan.cpus):
        return figures(plan, [carry_out(plan, notify, OwnCue(plan))])


def check_cpus(cpus: tuple[int, ...]) -> None:
    """Raises LoadError for one that this process may not use."""
    usable = os.sched_getaffinity(0)
    if wrong := [str(cpu) for cpu in cpus if cpu not in usable]:
        raise LoadError(f"CPU {wrong[0]} is not usable here; there are {', '.join(map(str, sorted(usable)))}")


@contextmanager
def bound_to(cpus: tuple[int, ...]) -> Iterator[None]:
    """Bind this thread to the CPUs, if there are any, for as long as the context lasts.

    A process that is started meanwhile begins with what this thread has (sched_setaffinity(2)).
    """
    before = os.sched_getaffinity(0)
    if cpus:
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# What any coordinator does.


class Led(Protocol):
    """One process, as far as it has told of itself."""

    answers: int
    raw: dict[str, Any] | None


P = TypeVar("P", bound=Led)


class Leader(ABC, Generic[P]):
    """What the members have told, and what is to be said next."""

    lead_ns: int  # from a cue to its instant, so that each process hears it in time

    def __init__(self, plan: Plan, notify: Notify) -> None:
        self._plan = plan
        self._notify = notify
        self._told: Counter[str] = Counter()
        self._warmup: Warmup | None = Warmup(plan.warmup_s, plan.warmup_max_s)
        self.members: list[P] = []

    @abstractmethod
    def _tell(self, instants_ns: Sequence[int]) -> None:
        """Tell each member its instant of our clock."""

    def hear(self, member: P, event: str, details: dict[str, Any]) -> None:
        """What a member said."""
        if event == "raw":
            member.raw = details
            return
        if event == "progress":
            member.answers = details["answers"]
            self._progress(sum(each.answers for each in self.members))
            return
        self._told[event] += 1
        if self._told[event] == len(self.members):
            if event == "ready":
                self._align()
            else:
                self._notify(event, {})

    def _progress(self, answers: int) -> None:
        self._notify("progress", {"answers": answers})
        came = self._told["ready"] == len(self.members)
        if came and self._warmup is not None and self._warmup.over(time.monotonic(), answers):
            self._warmup = None
            self._tell([time.monotonic_ns() + self.lead_ns] * len(self.members))

    def _align(self) -> None:
        """Spread what becomes due over the processes, in turns."""
        first_ns = time.monotonic_ns() + self.lead_ns
        interval_ns = 0 if self._plan.rate is None else 1e9 / self._plan.rate
        self._tell([first_ns + int(index * interval_ns) for index in range(len(self.members))])


# A coordinator of processes on this machine.


class Member:
    """One process of the crew."""

    def __init__(self, plan: Plan) -> None:
        package = __package__ or "load"
        root = Path(__file__).parents[package.count(".") + 1]
        path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", package, "--follow"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the leader, who passes it on
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
        """What it has said since the last time. Raises LoadError when it refuses, or ends without its counts."""
        data = os.read(self.fileno(), READ_BYTES)
        if not data:
            raise LoadError(f"a process of the load generator ended with status {self.process.wait()} and no figures")
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            details = json.loads(line)
            event = details.pop("event")
            if event == "refused":
                raise (LoadError if details["listens"] else NobodyListens)(details["reason"])
            yield event, details

    def interrupt(self) -> None:
        """It shall end now, with what it has counted so far."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> None:
        self.process.kill()
        with self.process:  # closes the pipes and waits
            pass


Hear = Callable[[Member, str, dict[str, Any]], None]


class Crew(Leader[Member]):
    """The leader of processes on this machine, each on a CPU of its own."""

    lead_ns = 200_000_000

    def muster(self) -> None:
        of = len(self._plan.cpus)
        for index in range(of):
            self.members.append(Member(self._plan.share(index, of)))

    def raws(self) -> list[dict[str, Any]]:
        """Listen until each process has told what it counted."""
        listen([member for member in self.members if member.raw is None], self.hear)
        return [member.raw for member in self.members if member.raw is not None]

    def interrupt(self) -> None:
        for member in self.members:
            member.interrupt()

    def _tell(self, instants_ns: Sequence[int]) -> None:
        for member, instant_ns in zip(self.members, instants_ns, strict=True):
            member.tell(instant_ns)


def listen(members: Iterable[Member], hear: Hear, chore: Callable[[], None] = lambda: None) -> None:
    """Hand on what they say until each has told what it counted; `chore` is called twice a second, or oftener."""
    with selectors.DefaultSelector() as selector:
        for member in members:
            selector.register(member, selectors.EVENT_READ, member)
        while selector.get_map():
            chore()
            for key, _ in selector.select(CHORES_S):
                for event, details in key.data.events():
                    hear(key.data, event, details)
                    if event == "raw":
                        selector.unregister(key.data)


def lead(plan: Plan, notify: Notify) -> list[dict[str, Any]]:
    """Carry the plan out with one process on each of its CPUs; returns the raw counts of each."""
    prepare(plan)
    crew = Crew(plan, notify)
    try:
        crew.muster()
        try:
            return crew.raws()
        except KeyboardInterrupt:
            crew.interrupt()
            return crew.raws()
    finally:
        for member in crew.members:
            member.end()


# A process that is coordinated.


class LedCue:
    """The cue of a process that is led."""

    at_once = False  # the others are waited for

    def came(self) -> int:
        say("ready", {})
        return int(read_line())

    def over(self, answers: int) -> bool:
        return bool(select.select([STDIN], [], [], 0)[0])

    def begin_ns(self) -> int:
        return int(read_line())


def follow() -> int:
    """Exit status 0, or 2 when the plan is refused."""
    try:
        plan = Plan.from_values(json.loads(read_line()))
        if plan.cpus:
            check_cpus(plan.cpus)
            os.sched_setaffinity(0, plan.cpus)
        say("raw", carry_out(plan, say, LedCue()))
    except LoadError as error:
        refuse(error)
        return 2
    return 0


def read_line() -> str:
    """The next line, and not a byte more: what is left must be seen by select(2)."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(STDIN, 1)
        if not byte:
            raise LoadError("the leader has gone")
        line += byte
    return line.decode()


def refuse(error: LoadError) -> None:
    say("refused", {"reason": str(error), "listens": not isinstance(error, NobodyListens)})


def say(event: str, details: dict[str, Any]) -> None:
    """One event as a line of JSON on standard output."""
    print(json.dumps({"event": event, **details}), flush=True)
