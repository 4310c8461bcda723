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
    """Check, before the experiment begins, that the application can be measured: start a server, wait for an answer,
    and call `look` with the server's URL. If a contender fails, the next one is tried, because the contender may be the
    reason.

    Then one user requests the page for a short time. Returns `least_us`, the time of the fastest answer, and `cpu_us`,
    the CPU time of an answer, both in µs; `septet.lab.evening` tells from them whether the page computes. The
    dictionary is empty if they could not be measured. Raises Failed, with the reason of the first contender, if no
    contender serves the application; then nothing is left on the disk.
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
    """Start a server under each interpreter of --pythons. Raises Failed when one of them cannot serve the application:
    often a package is not installed for it.
    """
    for python in experiment.pythons:
        cell = next(each for each in experiment.cells() if dict(each.setting).get(SETTING) == python.name)
        try:
            with started(experiment, Run(cell), free_port(experiment.host), {}):
                pass
        except Failed as failure:
            raise Failed(f"--pythons: {experiment.app} cannot be served by {python.executable}: {failure}") from None


def _first_to_serve(experiment: Experiment, server: contextlib.ExitStack) -> tuple[Server, int]:
    """Start one contender after the other until one answers; return its server and its port. The server is stopped when
    the stack `server` is closed. Raises Failed if no contender answers, or if the answer is an error.
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
    """Raise Failed if the page is answered with a status of 400 or more, because every request would count as an error.
    With a scenario nothing is checked, because its users request other paths.
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
    """Make the runs of each round, and write the results after each round, so that Ctrl-C loses the present round only.
    After Ctrl-C the results have None for `finished`.

    `load`: the function that carries out the plans of the load generator on other machines; None: this machine sends
    the load. Raises Failed if the results cannot be written, or if a worker of the cluster that sends the load is lost;
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
    """Read the results and the experiment in the directory, so that the experiment can be resumed. Raises Failed if
    there are none, if they are damaged, or if the experiment is finished.
    """
    recorded = results.read(directory / results.NAME)
    if recorded["finished"] is not None:
        raise Failed(f"{directory} holds an experiment that is finished")
    try:
        return recorded, replace(Experiment.from_values(recorded["experiment"]), out=directory)
    except (KeyError, TypeError, ValueError) as error:
        raise Failed(f"{directory / results.NAME} is damaged: its experiment cannot be taken up ({error!r})") from None
