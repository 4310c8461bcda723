"""`septet bench`: all runs of an experiment, one after the other; each is stored when it ends."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from septet.errors import Failed
from septet.lab import client, output, results
from septet.lab.client import Load, LoadLost
from septet.lab.display import Display
from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.results import Results
from septet.lab.runner import run_cell, started
from septet.lab.server import free_port


def preflight(experiment: Experiment, look: Callable[[str], None] = lambda url: None) -> None:
    """Check that the application can be measured before the runs begin: start a server, await its answer, stop it.

    `look` is called with the server's URL while it runs. When one contender fails the next is tried, because the reason
    may lie with the contender. Raises Failed, with the reason of the first, when no contender serves the application;
    the output directory is then removed if it was made here.
    """
    directory = experiment.out
    new = not directory.exists()
    output.make(directory)
    try:
        with contextlib.ExitStack() as server:
            look(_first_to_serve(experiment, server))
    except Failed:
        if new:
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise


def _first_to_serve(experiment: Experiment, server: contextlib.ExitStack) -> str:
    """Start contenders one by one until one answers; return its URL. It is stopped when the stack `server` is closed.

    Raises Failed when none answers, or when the answer has an error status.
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
            return experiment.url(port)
    raise Failed(f"{experiment.app} cannot be measured: {failures[0]}")


def _check_answer(experiment: Experiment, status: int) -> None:
    """Raise Failed for a status of 400 or more: every request would be an error. A scenario requests other paths."""
    if status >= 400 and experiment.scenario is None:
        raise Failed(f"{experiment.path} is answered with status {status}; --path names what the users ask for")


def _one_each(experiment: Experiment) -> list[Cell]:
    cells: dict[str, Cell] = {}
    for cell in experiment.cells():
        cells.setdefault(cell.model, cell)
    return list(cells.values())


def run(
    experiment: Experiment, recorded: Results, runs: Iterable[Run], display: Display, load: Load = client.load
) -> None:
    """Carry out the runs. Results are written after each run: Ctrl-C loses the present run and no other.

    Interrupted results have `finished` None. Raises Failed when they cannot be written, and when a worker that sends
    the load is lost; finished runs are kept.
    """
    write(recorded, experiment)
    try:
        for each in runs:
            display.begin(each)
            begun = time.monotonic()
            record = run_cell(experiment, each, display.receive, load)
            record["took_s"] = round(time.monotonic() - begun, 3)
            recorded["runs"].append(record)
            write(recorded, experiment)
            display.end(each, record)
    except KeyboardInterrupt:
        return
    except LoadLost as lost:  # every later run would fail for this reason, and be held against a server
        again = f"septet bench --resume {shlex.quote(str(experiment.out))}"
        raise Failed(f"{lost}; with all workers back: {again}") from None
    results.finish(recorded)
    write(recorded, experiment)


def write(recorded: Results, experiment: Experiment) -> None:
    """Write results.json into the experiment's directory. Raises Failed when that is not possible."""
    output.make(experiment.out)
    try:
        results.write(recorded, experiment.out)
    except OSError as error:
        raise output.unwritable(experiment.out, error) from None


def interrupted(directory: Path) -> tuple[Results, Experiment]:
    """Read the experiment in the directory, to resume it. Raises Failed when there is none, or it is finished."""
    recorded = results.read(directory / results.NAME)
    if recorded["finished"] is not None:
        raise Failed(f"{directory} holds an experiment that is finished")
    try:
        return recorded, replace(Experiment.from_values(recorded["experiment"]), out=directory)
    except (KeyError, TypeError, ValueError) as error:
        raise Failed(f"{directory / results.NAME} is damaged: its experiment cannot be taken up ({error!r})") from None
