"""Several processes that load one server together, each on a CPU of its own.

They share a clock, are spoken to by pipes, and a process that fails ends the run.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .leader import Leader
from .limits import prepare
from .loop import Notify
from .plan import LoadError, NobodyListens, Plan

READ_BYTES = 1 << 20

CHORES_S = 0.5

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
