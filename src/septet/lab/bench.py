"""`septet bench`: all runs of an experiment, one after the other; each is stored when it ends."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from septet.errors import Failed
from septet.lab import client, output, results
from septet.lab.client import Load, LoadLost
from septet.lab.display import Display
from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.interpreters import SETTING
from septet.lab.probe import probing
from septet.lab.results import Results
from septet.lab.runner import Round, load_and_sample, plan_for, started
from septet.lab.server import Server, free_port

ALONE_S = 0.4


def preflight(
    experiment: Experiment, look: Callable[[str], None] = lambda url: None, load: Load = client.load
) -> dict[str, Any]:
    """Start a server and await an answer, before an hour is spent on a typing error; `look` is called with its URL.

    Then one user requests the page for a short time. Returns `least_us`, the fastest answer, and `cpu_us`, the CPU time
    of an answer, from which `septet.lab.evening` tells whether the page computes; both are left out if they could not
    be measured. If a contender fails, the next one is tried, because the reason may be the contender. If none of them
    serves the application, raises Failed with the reason of the first, and leaves nothing on the disk.
    """
    directory = experiment.out
    new = not directory.exists()
    output.make(directory)
    try:
        _check_interpreters(experiment)
        with contextlib.ExitStack() as server:
            answering, port = _first_to_serve(experiment, server)
            look(experiment.url(port))
            return _alone(experiment, answering, port, load)
    except Failed:
        if new:
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise


def _alone(experiment: Experiment, server: Server, port: int, load: Load) -> dict[str, Any]:
    plan = replace(plan_for(experiment, 1, port), duration_s=ALONE_S, warmup_s=0.1, warmup_max_s=0.0)
    try:
        figures, usage = load_and_sample(plan, experiment, server, port, lambda event, details: None, load)
    except LoadLost:
        raise
    except Failed:
        return {}
    if not figures["answers"]:
        return {}
    return {"least_us": min(map(int, figures["histogram_us"])), "cpu_us": usage["cpu_s"] * 1e6 / figures["answers"]}


def _check_interpreters(experiment: Experiment) -> None:
    """Raise Failed when an interpreter of --pythons cannot serve the application: often a package is missing there."""
    for python in experiment.pythons:
        cell = next(each for each in experiment.cells() if dict(each.setting).get(SETTING) == python.name)
        try:
            with started(experiment, Run(cell), free_port(experiment.host), {}):
                pass
        except Failed as failure:
            raise Failed(f"--pythons: {experiment.app} cannot be served by {python.executable}: {failure}") from None


def _first_to_serve(experiment: Experiment, server: contextlib.ExitStack) -> tuple[Server, int]:
    """Start one contender after the other until one answers; return its server, which `server` stops when it is closed,
    and its port. Raises Failed if none can be started, or if the answer is an error.
    """
    failures = []
    for cell in _one_each(experiment):
        port = free_port(experiment.host)
        try:
            answering = server.enter_context(started(experiment, Run(cell), port, {}))
        except Failed as failure:
            failures.append(str(failure))
        else:
            _check_answer(experiment, answering.await_answer(experiment.url(port), experiment.start_timeout_s))
            return answering, port
    raise Failed(f"{experiment.app} cannot be measured: {failures[0]}")


def _check_answer(experiment: Experiment, status: int) -> None:
    """Raise Failed if the page is answered with a status of 400 or more: every request would be an error. Not checked
    with a scenario, whose users request other paths.
    """
    if status >= 400 and experiment.scenario is None:
        raise Failed(f"{experiment.path} is answered with status {status}; --path names what the users ask for")


def _one_each(experiment: Experiment) -> list[Cell]:
    cells: dict[str, Cell] = {}
    for cell in experiment.cells():
        cells.setdefault(cell.model, cell)
    return list(cells.values())


def run(
    experiment: Experiment,
    recorded: Results,
    rounds: Iterable[Iterable[Run]],
    display: Display,
    load: Load | None = None,
) -> None:
    """Make the runs of each round, and write the results after each round: Ctrl-C loses the present round only.

    `load`: carries out the plans of the load generator from other machines; None: this machine does. Interrupted
    results have `finished` None. Raises Failed if they cannot be written, or if a worker that sends the load is lost;
    finished runs are kept.
    """
    write(recorded, experiment)
    try:
        with probing(experiment.pinned.server) as probe, client.Generator() as generator:
            for each in rounds:
                with Round(experiment, load or generator.load, probe) as visits:
                    try:
                        _visit_all(visits, each, display)
                    finally:
                        recorded["runs"] += visits.finish()
                        write(recorded, experiment)
    except KeyboardInterrupt:
        return
    except LoadLost as lost:  # every later run would fail for this reason, and be held against a server
        again = f"septet bench --resume {shlex.quote(str(experiment.out))}"
        raise Failed(f"{lost}; with all workers back: {again}") from None
    results.finish(recorded)
    write(recorded, experiment)


def _visit_all(visits: Round, runs: Iterable[Run], display: Display) -> None:
    before: Run | None = None
    for run in runs:
        if before is not None and before.cell != run.cell:
            visits.go_on(before.cell)
        display.begin(run)
        begun = time.monotonic()
        record = visits.visit(run, display.receive)
        if record is not None:
            record["took_s"] = round(time.monotonic() - begun, 3)
            display.end(run, record)
        before = run


def write(recorded: Results, experiment: Experiment) -> None:
    """Write results.json into the experiment's directory. Raises Failed when that is not possible."""
    output.make(experiment.out)
    try:
        results.write(recorded, experiment.out)
    except OSError as error:
        raise output.unwritable(experiment.out, error) from None


def interrupted(directory: Path) -> tuple[Results, Experiment]:
    """Read the results and the experiment in the directory, to resume it. Raises Failed if there is none, or if it is
    finished.
    """
    recorded = results.read(directory / results.NAME)
    if recorded["finished"] is not None:
        raise Failed(f"{directory} holds an experiment that is finished")
    try:
        return recorded, replace(Experiment.from_values(recorded["experiment"]), out=directory)
    except (KeyError, TypeError, ValueError) as error:
        raise Failed(f"{directory / results.NAME} is damaged: its experiment cannot be taken up ({error!r})") from None
