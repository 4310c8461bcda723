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
"""With more users than USERS_PER_WINDOW, the warm-up and the recorded time (WARMUP_S, WINDOW_S) are longer in
proportion to the number of users, at most by this factor: with a thousand users a request takes a second.
"""
ARRIVAL_MAX_S = 1.0
"""Seconds after which the warm-up begins, even if some users have not had a first answer: a server with few threads
lets those who keep their connections wait long.
"""
VISITS = 20_000
"""Most requests of a run whose time is recorded and divided into parts."""
LOOK_S = 0.003
"""Least seconds between two samples of the states of the server's threads."""
LOOK_SHARE = 0.1
"""Most CPU time that sampling the threads may take, as a share of a CPU; with many threads samples become rarer."""
THREADS_PER_LOOK = 16
"""Most threads in a sample; of more, so many are drawn by lot."""
NUMBERS_MAX = 4
"""The time of requests is recorded at no more than so many numbers of users: the first, the last and two in between."""
MODEL_S = 1.5
"""Seconds that a model takes or so; with less time than this, nothing is recorded."""
LIMIT_S = 40.0
"""Most seconds for one page if the time of the experiment is not limited."""
SHARE = 0.15
"""Share of a limited time (`--for`) that is kept for these runs, if that is enough for a model."""

MAIN_ACCEPTS = frozenset({"threaded"})
"""Models whose main thread accepts all connections, and does nothing else: until a connection is accepted, its request
waits for that thread.
"""

Where = dict[str, Any]
"""The value of `where` in results.json."""


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
    """Records one contender after the other, until `end` on the clock of `monotonic`.

    The first ones show how long the others will take. If that is too long, the others have fewer numbers of users,
    because all models at one number of users tell more than some of them at all.
    """

    def __init__(self, experiment: Experiment, end: float) -> None:
        self._experiment = experiment
        self._end = end
        self._found: list[Where] = []
        self._left_out: list[str] = []
        self._took_s = 0.0
        self._most = NUMBERS_MAX
        """Most numbers of users for each of the contenders that follow."""
        own = [cell for cell in experiment.cells() if cell.model in experiment.models]
        labels = dict.fromkeys(cell.label for cell in own)
        self.lines = [[cell for cell in own if cell.label == label] for label in reversed(labels)]
        """The cells of each contender. The last model is the first: iterative, which takes longest, comes last."""
        self._order = [*labels]

    def record(self, line: list[Cell], remaining: int, load: Load) -> None:
        """Record the next contender, if there is time; `remaining` is the number of those that are left, with it."""
        begun = time.monotonic()
        left_s = self._end - begun
        each_s = self._took_s / len(self._found) if self._found else 0.0
        if each_s:
            self._most = max(1, min(self._most, int(left_s / remaining / each_s)))
        if left_s < (each_s or MODEL_S):
            self._left_out.append(line[0].label)
            return
        some = numbers(self._experiment.users, self._most)
        cells = [cell for cell in reversed(line) if cell.users in some]
        self._found += _record_line(self._experiment, cells, load)
        self._took_s += time.monotonic() - begun

    def _some(self) -> list[int]:
        """The numbers of users with which all contenders were recorded."""
        return numbers(self._experiment.users, self._most)

    def cells(self) -> list[Where]:
        """Return what was recorded, in the order of the experiment's cells."""
        known = [cell for cell in self._found if cell["users"] in self._some()]
        return sorted(known, key=lambda cell: (cell["users"], self._order.index(_label(cell))))

    def skipped(self) -> str | None:
        """Return a sentence about what was left out; None if nothing was."""
        said = [f"of {', '.join(reversed(self._left_out))}"] if self._left_out else []
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
    """Return which of these numbers of users are recorded: all, or, of more than `most`, the first, the last and some
    in between; if `most` is 1, the largest.
    """
    known = sorted(set(users))
    if len(known) <= most:
        return known
    last = len(known) - 1
    return [known[round(place * last / (most - 1))] for place in range(most)] if most > 1 else known[-1:]


def _record_line(experiment: Experiment, cells: list[Cell], load: Load) -> list[Where]:
    """Record where the time goes for the cells of one contender, which differ in the number of users and are served by
    one server. Returns an entry for each.
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
    """Start the server of these cells, and load it with each number of users. Returns (cell, figures, samples of
    threads) for each. Appends the words of the server's command to `command`.
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
        return {"failure": "no request was answered rightly"}
    return {
        "answers": figures["answers"],
        "requests": found.requests,
        "latency_us": round(found.latency_us, 1),
        "parts_us": {key: round(value, 1) for key, value in found.parts_us.items()},
        "samples": found.samples,
    }


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
