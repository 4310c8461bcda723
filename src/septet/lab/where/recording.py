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
from itertools import groupby
from pathlib import Path
from typing import Any

from septet.errors import Failed
from septet.lab import client, output
from septet.lab.client import Load, LoadLost
from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.load import Plan
from septet.lab.load.visits import Visit
from septet.lab.runner import plan_for, started
from septet.lab.server import free_port
from septet.lab.threads.reasons import Reasons
from septet.lab.threads.states import Sample
from septet.lab.threads.tasks import Tasks
from septet.lab.trace.requests import Span, read_spans
from septet.lab.where.split import join, split

WINDOW_S = 0.4
WARMUP_S = 0.2
USERS_PER_WINDOW = 400
"""With more users than this, the warm-up and the recorded time (WARMUP_S, WINDOW_S) are longer in proportion to the
number of users: with a thousand of them a request takes a second.
"""
VISITS = 20_000
"""Most requests of a run whose time is recorded and divided into parts."""
LOOK_S = 0.01
THREADS_PER_LOOK = 16
"""Number of threads that are sampled every LOOK_S seconds, drawn by lot: that takes a tenth of a CPU, however many
threads there are.
"""
NUMBERS_MAX = 4
"""The time of requests is recorded at no more than so many numbers of users: the first, the last and two in between."""
MODEL_S = 1.5
"""Least seconds that recording one model takes; with less time left no further model is begun."""
LIMIT_S = 40.0
"""Most seconds that recording where the time goes takes for one measured page, if the experiment has no time limit
(`--for`).
"""
SHARE = 0.12
"""Share of the time limit (`--for`) that is kept for recording where the time of a request goes, if that is at least
MODEL_S.
"""

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
    end = time.monotonic() + limit_s
    cells, longest_s = [], MODEL_S
    lines = [list(own) for _, own in groupby(_cells(experiment), key=lambda cell: cell.label)]
    left_out = []
    with client.Generator() as generator:
        for own in lines:
            begun = time.monotonic()
            if end - begun < longest_s:
                left_out.append(own[0].label)
                continue
            cells += _record_line(experiment, own, end, load or generator.load)
            longest_s = max(longest_s, time.monotonic() - begun)
    skipped = None
    if left_out:
        skipped = f"Where the time goes was not recorded of {', '.join(left_out)}: there was no time left."
        tell(skipped)
    return {"cells": cells, "skipped": skipped}


def nothing(why: str, tell: Callable[[str], None]) -> Where:
    """Return the value of `where` in results.json for an experiment of which nothing is recorded. `why`: the reason,
    which `tell` is told as well.
    """
    skipped = f"Where the time goes was not recorded: {why}."
    tell(skipped)
    return {"cells": [], "skipped": skipped}


def _cells(experiment: Experiment) -> list[Cell]:
    """Return the cells (a model in one setting at one number of users) that are recorded. Those that differ only in the
    number of users follow one another, since one server serves them.
    """
    some = numbers(experiment.users)
    own = [cell for cell in experiment.cells() if cell.model in experiment.models and cell.users in some]
    labels = list(dict.fromkeys(cell.label for cell in own))
    return sorted(own, key=lambda cell: labels.index(cell.label))


def numbers(users: Iterable[int]) -> list[int]:
    """Return which of these numbers of users are recorded: all, or, of more than NUMBERS_MAX, the first, the last and
    some in between.
    """
    known = sorted(set(users))
    if len(known) <= NUMBERS_MAX:
        return known
    last = len(known) - 1
    return [known[round(place * last / (NUMBERS_MAX - 1))] for place in range(NUMBERS_MAX)]


def _record_line(experiment: Experiment, cells: list[Cell], end: float, load: Load) -> list[Where]:
    """Record where the time goes for the cells of one contender, which differ in the number of users and are served by
    one server. Returns an entry for each; cells for which there is no time before `end` are left out.
    """
    output.make(experiment.out)
    with tempfile.TemporaryDirectory(prefix="spans-", dir=experiment.out) as scratch:
        log = (Path(scratch) / "spans.jsonl").absolute()
        logging = replace(experiment, serve_options=(*experiment.serve_options, "--span-log", str(log)))
        command: list[str] = []
        try:
            visits = _visit_all(logging, cells, end, load, command)
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


def _visit_all(experiment: Experiment, cells: list[Cell], end: float, load: Load, command: list[str]) -> list[Visited]:
    """Start the server of these cells, and load it with each number of users. Returns (cell, figures, samples of
    threads) for each, without those for which there is no time before `end`. Appends the words of the server's command
    to `command`.
    """
    port = free_port(experiment.host)
    command += experiment.command(cells[0], port)
    found: list[Visited] = []
    with ExitStack() as stack:
        server = stack.enter_context(started(experiment, Run(cells[0]), port, {}))
        for cell in cells:
            if found and time.monotonic() > end:
                break
            plan = _plan(experiment, cell.users, port)
            looks = Looks(server.session, port)
            figures = load(plan, looks.receive, experiment.scenario)
            server.check_alive()
            found.append((cell, figures, looks.samples))
        server.stop()
    return found


def _plan(experiment: Experiment, users: int, port: int) -> Plan:
    longer = max(1.0, users / USERS_PER_WINDOW)
    return replace(
        plan_for(experiment, users, port),
        duration_s=WINDOW_S * longer,
        warmup_s=WARMUP_S * longer,
        warmup_max_s=0.0,
        visits=VISITS,
    )


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
        try:
            while not self._stopping.wait(LOOK_S * random.uniform(0.5, 1.5)):  # in no step with what it looks at
                self.samples += tasks.look()
        finally:
            tasks.close()
