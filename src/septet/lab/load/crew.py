"""Several processes that load one server together, each on a CPU of its own.

They begin the window at one instant of the clock they share, and an open loop's requests fall due in turns. What they
counted is added up; a process that fails ends the run.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .limits import prepare
from .loop import Notify
from .plan import LoadError, NobodyListens, Plan
from .warmup import Warmup

LEAD_NS = 200_000_000  # from a cue to its instant, so that each process hears it in time
READ_BYTES = 1 << 20

Event = tuple[str, dict[str, Any]]


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

    def end(self) -> None:
        self.process.kill()
        with self.process:  # closes the pipes and waits
            pass


class Crew:
    """The leader's view: what he has been told, and what he says next."""

    def __init__(self, plan: Plan, notify: Notify) -> None:
        self._plan = plan
        self._notify = notify
        self._told: Counter[str] = Counter()
        self._warmup: Warmup | None = Warmup(plan.warmup_s, plan.warmup_max_s)
        self.members: list[Member] = []

    def muster(self) -> None:
        of = len(self._plan.cpus)
        for index in range(of):
            self.members.append(Member(self._plan.share(index, of)))

    def raws(self) -> list[dict[str, Any]]:
        """Listen until each process has told what it counted."""
        with selectors.DefaultSelector() as selector:
            for member in self.members:
                if member.raw is None:
                    selector.register(member, selectors.EVENT_READ, member)
            while selector.get_map():
                for key, _ in selector.select():
                    for event, details in key.data.events():
                        self._hear(key.data, event, details)
                    if key.data.raw is not None:
                        selector.unregister(key.data)
        return [member.raw for member in self.members if member.raw is not None]

    def interrupt(self) -> None:
        for member in self.members:
            member.process.send_signal(signal.SIGINT)

    def _hear(self, member: Member, event: str, details: dict[str, Any]) -> None:
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
            begin_ns = time.monotonic_ns() + LEAD_NS
            for member in self.members:
                member.tell(begin_ns)

    def _align(self) -> None:
        """Spread what becomes due over the processes, in turns."""
        first_ns = time.monotonic_ns() + LEAD_NS
        interval_ns = 0 if self._plan.rate is None else 1e9 / self._plan.rate
        for index, member in enumerate(self.members):
            member.tell(first_ns + int(index * interval_ns))


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
