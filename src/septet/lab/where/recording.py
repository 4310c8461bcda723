"""The runs that record where the time of a request goes: for each model one server with a span log, visited with each
number of users, while its threads are sampled.

Recording costs a request some 30 µs of CPU time, and the sampler a tenth of a CPU, so latencies of these runs are
longer than those that were measured; the report shows both.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from septet.errors import Failed
from septet.lab import client, output
from septet.lab.client import Load, LoadLost
from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.load import Plan
from septet.lab.load.visits import Visit
from septet.lab.runner import LONGER, plan_for, started
from septet.lab.server import Server, free_port
from septet.lab.threads.reasons import Reasons
from septet.lab.threads.states import Sample
from septet.lab.threads.tasks import Tasks
from septet.lab.trace.requests import Span, read_spans
from septet.lab.where.split import join, split

WINDOW_S = 0.35
WARMUP_S = 0.15
USERS_PER_WINDOW = 400
LONGER_MAX = 2.0
"""The largest factor by which the warm-up and the recorded time (WARMUP_S, WINDOW_S) are made longer. With more users
than USERS_PER_WINDOW they grow in proportion to the number of users, because a request takes longer then: a second with
a thousand users.
"""
ARRIVAL_MAX_S = 1.0
"""Seconds after the users have been started (the time over which their starts are spread is not counted). The warm-up
begins then even if some users have not had a first answer, because on a server with few threads those who keep their
connections make others wait long.
"""
VISITS = 20_000
"""The largest number of requests of one run whose time is recorded and divided into parts."""
LOOK_S = 0.003
"""The shortest time between two samples of the states of the server's threads, in seconds."""
LOOK_SHARE = 0.1
"""The largest share of a CPU that the thread that samples the server's threads may use. With many threads each sample
takes longer, so samples are taken less often.
"""
THREADS_PER_LOOK = 16
"""The largest number of threads in a sample. If the server has more, so many of them are drawn by lot, and its first
thread is sampled besides.
"""
NUMBERS_MAX = 4
"""Where the time of requests goes is recorded for at most this many of the experiment's numbers of users: the smallest,
the largest, and two in between.
"""
MODEL_S = 1.5
"""Seconds that it takes to record one model, roughly. If less time than this is left, nothing is recorded."""
LIMIT_S = 40.0
"""The longest time, in seconds, for recording where the time of requests goes after one experiment, which measures one
page of an application. A limit of the experiment's time (`--for`) can make it shorter.
"""
SHARE = 0.12
"""The share of a limited time (`--for`) that is kept for recording where the time of requests goes. Nothing is kept if
this would be less than one model takes (MODEL_S).
"""

MAIN_ACCEPTS = frozenset({"threaded"})
"""Models whose main thread accepts all connections, and does nothing else: until a connection is accepted, its request
waits for that thread.
"""

Where = dict[str, Any]
"""The value of `where` in results.json, which says where the time of requests goes; or the part of that value that
describes one model with one number of users.
"""


def reserved_s(for_s: float) -> float:
    """Return how many seconds of the time limit `for_s` are kept for recording where the time of a request goes; 0 if
    that would be too little for one model.
    """
    share = SHARE * for_s
    return share if share >= MODEL_S else 0.0


def record(experiment: Experiment, limit_s: float, tell: Callable[[str], None], load: Load | None = None) -> Where:
    """Record where the time of a request goes, for each model at some numbers of users, in at most `limit_s` seconds or
    a little more.

    A model that fails is no error: the figures of the experiment are stored already. `tell` is called with a sentence
    about what was left out. `load` carries out the plans of the load generator; None: a process of it does. Returns the
    value of `where` in results.json.
    """
    if experiment.cluster:
        return nothing("the users are on other machines, whose clocks are not ours", tell)
    if limit_s < MODEL_S:
        return nothing("there was no time left", tell)
    recording = _Recording(experiment, time.monotonic() + limit_s)
    with client.Generator() as generator:
        for place, own in enumerate(recording.lines):
            recording.record(own, len(recording.lines) - place, load or generator.load)
    skipped = recording.skipped()
    if skipped is not None:
        tell(skipped)
    return {"cells": recording.cells(), "skipped": skipped}


class _Recording:
    """Records one contender (a process model with its options) after the other, until the clock of `time.monotonic`
    shows `end`, in seconds.

    The first contenders show how long the others will take. If that is too long, the others are recorded with fewer
    different numbers of users, because all contenders with one number of users tell more than some contenders with
    every number.
    """

    def __init__(self, experiment: Experiment, end: float) -> None:
        self._experiment = experiment
        self._end = end
        self._found: list[Where] = []
        self._left_out: list[str] = []
        self._took_s = 0.0
        self._most = NUMBERS_MAX
        """The largest count of different numbers of users with which each of the next contenders (process models with
        their options) is recorded.
        """
        own = [cell for cell in experiment.cells() if cell.model in experiment.models]
        labels = dict.fromkeys(cell.label for cell in own)
        self.lines = [[cell for cell in own if cell.label == label] for label in reversed(labels)]
        """The cells of each contender (a process model with its options): one cell for each number of users. The
        contenders are in reverse order, so that iterative, which is the first of the models and takes longest, is
        recorded last.
        """
        self._order = [*labels]

    def record(self, line: list[Cell], remaining: int, load: Load) -> None:
        """Record the next contender (a process model with its options), if there is time. `line`: its cells, one for
        each number of users. `remaining`: how many contenders are not recorded yet, this one included.
        """
        begun = time.monotonic()
        left_s = self._end - begun
        each_s = self._took_s / len(self._found) if self._found else 0.0
        if each_s:
            self._most = max(1, min(self._most, int(left_s / remaining / each_s)))
        if left_s < (each_s or MODEL_S):
            self._left_out.append(line[0].label)
            return
        some = numbers(self._experiment.users, self._most)
        # Few users first: a slow server has work left from many.
        cells = sorted((cell for cell in line if cell.users in some), key=lambda cell: cell.users)
        self._found += _record_line(self._experiment, cells, load)
        self._took_s += time.monotonic() - begun

    def _some(self) -> list[int]:
        """Return the numbers of users with which every contender (a process model with its options) was recorded."""
        return numbers(self._experiment.users, self._most)

    def cells(self) -> list[Where]:
        """Return what was recorded: one entry for each model and number of users, in the order of the numbers, and for
        one number in the experiment's order of the models.
        """
        known = [cell for cell in self._found if cell["users"] in self._some()]
        return sorted(known, key=lambda cell: (cell["users"], self._order.index(_label(cell))))

    def skipped(self) -> str | None:
        """Return a sentence about what was left out; None if nothing was."""
        said = [f"for {', '.join(reversed(self._left_out))}"] if self._left_out else []
        if self._some() != numbers(self._experiment.users):
            said.append(f"with other numbers of users than {', '.join(f'{users:,}' for users in self._some())}")
        return f"Where the time goes was not recorded {' and '.join(said)}: there was no time left." if said else None


def nothing(why: str, tell: Callable[[str], None]) -> Where:
    """Return the value of `where` in results.json for an experiment of which nothing is recorded. `why`: the reason,
    which `tell` is told as well.
    """
    skipped = f"Where the time goes was not recorded: {why}."
    tell(skipped)
    return {"cells": [], "skipped": skipped}


def numbers(users: Iterable[int], most: int = NUMBERS_MAX) -> list[int]:
    """Return with which of these numbers of users the time of requests is recorded, in ascending order. If there are
    more than `most`, these are the smallest, the largest and some in between; if `most` is 1, only the largest.
    """
    known = sorted(set(users))
    if len(known) <= most:
        return known
    last = len(known) - 1
    return [known[round(place * last / (most - 1))] for place in range(most)] if most > 1 else known[-1:]


def _record_line(experiment: Experiment, cells: list[Cell], load: Load) -> list[Where]:
    """Record where the time goes for the cells of one contender (a process model with its options). The cells differ in
    the number of users, and one server serves them all. Returns an entry of results.json for each cell.
    """
    output.make(experiment.out)
    with tempfile.TemporaryDirectory(prefix="spans-", dir=experiment.out) as scratch:
        log = (Path(scratch) / "spans.jsonl").absolute()
        logging = replace(experiment, serve_options=(*experiment.serve_options, "--span-log", str(log)))
        command: list[str] = []
        try:
            visits = _visit_all(logging, cells, load, command)
        except LoadLost:
            raise
        except Failed as failure:
            return [{**_about(cell), "command": command, "failure": str(failure)} for cell in cells]
        spans, turns = read_spans(log.read_text())
    return [
        {**_about(cell), "command": command, **_result(cell, figures, samples, spans, turns)}
        for cell, figures, samples in visits
    ]


Visited = tuple[Cell, dict[str, Any], list[Sample]]


def _visit_all(experiment: Experiment, cells: list[Cell], load: Load, command: list[str]) -> list[Visited]:
    """Start the server of these cells (one process model with several numbers of users), and load it with each number
    of users. Returns (cell, figures, samples of threads) for each. Appends the words of the server's command to
    `command`.
    """
    port = free_port(experiment.host)
    command += experiment.command(cells[0], port)
    found: list[Visited] = []
    with ExitStack() as stack:
        server = stack.enter_context(started(experiment, Run(cells[0]), port, {}))
        for cell in cells:
            plan = _plan(experiment, cell.users, port)
            figures, samples = _visit(plan, server, port, experiment, load)
            if not figures["answers"]:  # on a busy machine a short window may be no time at all
                longer = replace(plan, duration_s=LONGER * plan.duration_s)
                figures, samples = _visit(longer, server, port, experiment, load)
            server.check_alive()
            found.append((cell, figures, samples))
        server.stop()
    return found


def _visit(
    plan: Plan, server: Server, port: int, experiment: Experiment, load: Load
) -> tuple[dict[str, Any], list[Sample]]:
    looks = Looks(server.session, port)
    return load(plan, looks.receive, experiment.scenario), looks.samples


def _plan(experiment: Experiment, users: int, port: int) -> Plan:
    longer = min(LONGER_MAX, max(1.0, users / USERS_PER_WINDOW))
    return replace(
        plan_for(experiment, users, port),
        duration_s=WINDOW_S * longer,
        warmup_s=WARMUP_S * longer,
        warmup_max_s=0.0,
        arrival_max_s=ARRIVAL_MAX_S,
        visits=VISITS,
    )


def _label(recorded: Where) -> str:
    return Cell(recorded["model"], recorded["users"], tuple(recorded["setting"].items())).label


def _about(cell: Cell) -> Where:
    return {"model": cell.model, "users": cell.users, "setting": dict(cell.setting), "failure": None}


def _result(cell: Cell, figures: dict[str, Any], samples: list[Sample], spans: list[Span], turns: list[Span]) -> Where:
    visits: list[Visit] = [tuple(visit) for visit in figures["visits"]]
    found = split(join(visits, spans, turns, cell.model in MAIN_ACCEPTS), samples)
    if found is None:
        return {"failure": _without_requests(figures)}
    return {
        "answers": figures["answers"],
        "requests": found.requests,
        "latency_us": round(found.latency_us, 1),
        "parts_us": {key: round(value, 1) for key, value in found.parts_us.items()},
        "samples": found.samples,
    }


def _without_requests(figures: dict[str, Any]) -> str:
    """Return why there is no request whose time could be divided. `figures`: those of the load generator."""
    if figures["answers"]:
        return f"the span log has none of the {figures['answers']:,} requests that were answered"
    kinds = ", ".join(f"{count:,} x {kind}" for kind, count in sorted(figures["errors"].items()))
    return f"no request was answered rightly in {figures['window_s']:.2g} s{kinds and ': ' + kinds}"


class Looks:
    """Samples the threads of a server while the load generator measures. `receive` is to be called with the load
    generator's events: "measuring" begins and "measured" ends the sampling.
    """

    def __init__(self, session: int, port: int) -> None:
        self.samples: list[Sample] = []
        self._session = session
        self._port = port
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def receive(self, event: str, details: dict[str, Any]) -> None:
        if event == "measuring":
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        elif event == "measured" and self._thread is not None:
            self._stopping.set()
            self._thread.join()

    def _run(self) -> None:
        tasks = Tasks(self._session, Reasons(frozenset({self._port})), THREADS_PER_LOOK)
        pause_s = 0.0
        try:
            while not self._stopping.wait(pause_s * random.uniform(0.5, 1.5)):  # in no step with what it looks at
                before = time.thread_time()
                self.samples += tasks.look()
                pause_s = max(LOOK_S, (time.thread_time() - before) / LOOK_SHARE)
        finally:
            tasks.close()
