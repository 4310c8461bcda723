"""Carries out the trials of a search: runs one server at a time, and loads it for one trial after another.

A server is kept as long as it meets the latency target at the rates that are offered. After a trial in which it did
not, it is replaced: requests that are still in its queues would spoil the next trial.
"""

from __future__ import annotations

import datetime
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from septet.errors import Failed
from septet.lab import client, machine
from septet.lab.advise.candidates import Candidate
from septet.lab.advise.trial import Trial, read_trial
from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.proc import processes_of
from septet.lab.runner import load_and_sample, plan_for, started
from septet.lab.server import Server, free_port

ANSWERS = 1000
"""Answers that a trial should have at least, so that ten of them are beyond the p99."""
DURATION_MIN_S, DURATION_MAX_S = 1.0, 5.0
TARGETS = 10
"""A trial lasts at least this many times the target latency, so that a growing queue has time to show."""
WARMUP_S = 0.4
TIMEOUT_MIN_S, TIMEOUT_TARGETS = 1.0, 20.0
"""A request that takes longer than TIMEOUT_TARGETS times the target, and longer than TIMEOUT_MIN_S seconds, is an
error."""
SATURATED_TIMEOUT_S = 10.0

Record = dict[str, Any]
Key = tuple[str, tuple[tuple[str, str], ...], int, str | None]
"""What identifies a trial: model, options of `septet serve`, number of users, and rate as text. The rate is None if
there was none, because each user sent the next request when the last was answered.
"""


def duration_s(rate: float, target_s: float, answers: int = ANSWERS, longest_s: float = DURATION_MAX_S) -> float:
    """Return the seconds that a trial at `rate` lasts: long enough for `answers` answers, for TARGETS times the latency
    target, and for DURATION_MIN_S; but at most `longest_s`.
    """
    return min(longest_s, max(DURATION_MIN_S, answers / rate, TARGETS * target_s))


@dataclass(slots=True)
class _RunningServer:
    """The server that runs now, and the part of the records that all trials on it have in common."""

    candidate: Candidate
    port: int
    server: Server
    record: Record


class TrialRunner:
    """Runs trials on the server of one candidate at a time. As a context manager: on leaving, the server is stopped."""

    def __init__(
        self, experiment: Experiment, target_s: float, records: list[Record], known: Sequence[Record] = ()
    ) -> None:
        """`target_s`: the latency target in seconds, which decides how long a trial lasts. `records`: a list to which
        the record of each run is appended. `known`: records of an interrupted search; a trial that is among them is not
        run again, its record is used.
        """
        self._experiment = experiment
        self._target_s = target_s
        self._records = records
        """The raw record of each run is appended here."""
        self._known: dict[Key, deque[Record]] = {}
        for record in known:
            self._known.setdefault(_key(record), deque()).append(record)
        self._spent_s = 0.0
        self._stack = ExitStack()
        self._kept: _RunningServer | None = None

    def __enter__(self) -> TrialRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.replace_server()

    def spent_s(self) -> float:
        """Return how many seconds the trials took that were not run again, because the interrupted search had their
        records.
        """
        return self._spent_s

    def replace_server(self) -> None:
        """Stop the present server; the next trial starts a new one."""
        self._kept = None
        self._stack.close()

    def offer(self, candidate: Candidate, rate: float, users: int, window_s: float) -> Trial:
        """Run an open loop: in each of `window_s` seconds `rate` requests become due, however many are answered;
        `users` connections send them.
        """
        timeout_s = max(TIMEOUT_MIN_S, TIMEOUT_TARGETS * self._target_s)
        return self._run(candidate, users, rate=rate, duration_s=window_s, timeout_s=timeout_s)

    def saturate(self, candidate: Candidate, users: int, at_least_s: float = 0.0) -> Trial:
        """Run a closed loop: each user sends the next request when the last answer has come.

        It lasts `at_least_s` seconds, but no less than DURATION_MIN_S and no more than SATURATED_TIMEOUT_S.
        """
        window_s = min(SATURATED_TIMEOUT_S, max(DURATION_MIN_S, at_least_s))
        return self._run(candidate, users, rate=None, duration_s=window_s, timeout_s=SATURATED_TIMEOUT_S)

    def _run(self, candidate: Candidate, users: int, **values: Any) -> Trial:
        record: Record = {
            "model": candidate.model,
            "setting": dict(candidate.setting),
            "users": users,
            "rate": values["rate"],
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "load_average": machine.load_average(),
            "pinned": self._experiment.pinned,
        }
        if waiting := self._known.get(_key(record)):
            record = waiting.popleft()
            self._spent_s += record.get("took_s", 0.0)
            return read_trial(record, os.cpu_count() or 1)
        begun = time.monotonic()
        try:
            kept = self._server(candidate)
            record |= kept.record
            plan = replace(plan_for(self._experiment, users, kept.port), warmup_s=WARMUP_S, warmup_max_s=0.0, **values)
            record["load_command"] = client.command(plan, self._experiment.scenario)
            watch = _Watch(kept.server.session)
            outcome = load_and_sample(plan, self._experiment, kept.server, kept.port, watch.receive)
            record["load"], record["usage"] = outcome
            record["scheduled"] = asdict(watch.seen)
            kept.server.check_alive()
        except Failed as failure:
            record["failure"] = str(failure)
            self.replace_server()
        record["took_s"] = round(time.monotonic() - begun, 3)
        self._records.append(record)
        return read_trial(record, os.cpu_count() or 1)

    def _server(self, candidate: Candidate) -> _RunningServer:
        """Return the running server of the candidate. If it does not run yet, start it, after stopping the server of
        another candidate if one runs.

        Raises Failed when it does not start.
        """
        if self._kept is None or self._kept.candidate != candidate:
            self.replace_server()
            run, port, record = Run(Cell(candidate.model, 1, candidate.setting)), free_port(), Record()
            record["command"] = self._experiment.command(run.cell, port)
            server = self._stack.enter_context(started(self._experiment, run, port, record))
            self._kept = _RunningServer(candidate, port, server, record)
        return self._kept


def _key(record: Record) -> Key:
    """Return the key of a run. Two runs with the same key are trials of the same candidate under the same load, so that
    one can replace the other.
    """
    rate = record["rate"]
    setting = tuple(sorted(record["setting"].items()))
    return record["model"], setting, record["users"], None if rate is None else f"{rate:.4g}"


@dataclass(slots=True)
class Scheduled:
    """How long the threads of a server ran, and how long they waited for a CPU: sums over the threads."""

    ran_s: float = 0.0
    """Seconds for which the threads ran on a CPU."""
    delayed_s: float = 0.0
    """Seconds for which the threads were ready to run and waited for a CPU."""


class _Watch:
    """Receives events of the load generator, and measures how the server's threads are scheduled between the events
    "measuring" and "measured". Threads that end in between are missed.
    """

    def __init__(self, session: int) -> None:
        self._session = session
        self.seen = Scheduled()

    def receive(self, event: str, details: dict[str, Any]) -> None:
        if event in ("measuring", "measured"):
            now, sign = scheduled(self._session), -1 if event == "measuring" else 1
            self.seen.ran_s += sign * now.ran_s
            self.seen.delayed_s += sign * now.delayed_s


def scheduled(session: int) -> Scheduled:
    """Sum up, over all living threads of a session (`session` is its id, see setsid(2)), how long each has run and has
    waited for a CPU since it began (/proc/PID/task/TID/schedstat, proc(5)).

    Zeros where the kernel has no figures. /proc/PID/stat counts ticks of 10 ms, too coarse here: an application that
    waits uses one or two of them a second.
    """
    total = Scheduled()
    for process in processes_of(session):
        for file in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # the thread has ended meanwhile
                ran_ns, delayed_ns, _ = file.read_text().split()
                total.ran_s += int(ran_ns) / 1e9
                total.delayed_s += int(delayed_ns) / 1e9
    return total
