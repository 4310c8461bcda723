"""`septet bench`: all runs of an experiment, one after the other, written down as they come."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from septet.errors import Failed, UsageError
from septet.lab import client, output, results
from septet.lab.client import Load, LoadLost
from septet.lab.display import Display
from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.results import Results
from septet.lab.runner import run_cell, started
from septet.lab.server import free_port

ANSWER_TIMEOUT_S = 30.0


def model_names() -> tuple[str, ...]:
    """The models that `septet serve` knows, asked of it as any user would."""
    return tuple(_asked("models", "--names").split())


def lacking(models: Sequence[str], swept: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Those of the swept options that a model has no use for, by model.

    Options for its size are what models differ in: `septet models` says which of them each takes; the others are for
    all. Raises UsageError for one that none of the models takes.
    """
    takes = {each["name"]: set(each["takes"]) for each in json.loads(_asked("models", "--json"))}
    sizes = set[str]().union(*takes.values())
    for name in swept:
        if name in sizes and not any(name in takes[model] for model in models):
            raise UsageError(f"--sweep: {', '.join(models)} cannot be told --{name}")
    found = {model: tuple(name for name in swept if name in sizes - takes[model]) for model in models}
    return {model: names for model, names in found.items() if names}


def _asked(*words: str) -> str:
    """What `septet` answers."""
    said = f"`septet {' '.join(words)}`"
    command = [sys.executable, "-m", "septet", *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=True).stdout
    except subprocess.TimeoutExpired:
        raise Failed(f"{said} did not end within {ANSWER_TIMEOUT_S:g} s") from None
    except subprocess.CalledProcessError as error:
        raise Failed(f"{said} failed: {error.stderr.strip()}") from None


def choose_models(wanted: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The models in a list with commas, in its order; all when there is no list. Raises UsageError for unknown ones."""
    if wanted is None:
        return known
    chosen = tuple(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise UsageError(f"--models: {', '.join(unknown) or wanted!r} is not among {', '.join(known)}")
    return chosen


def preflight(experiment: Experiment, look: Callable[[str], None] = lambda url: None) -> None:
    """Start a server and see it answer, before an hour is spent on a typing error; `look` is called with its URL.

    When one contender fails another is tried, for that may be its own affair. Raises Failed, with the reason of the
    first, when none of them serves the application; nothing is left on the disk then.
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
    """The URL at which a contender answers, for as long as the stack is open."""
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
    """Raises Failed where every request would be an error."""
    if status >= 400 and experiment.scenario is None:
        raise Failed(f"{experiment.path} is answered with status {status}; --path names what the users ask for")


def _one_each(experiment: Experiment) -> list[Cell]:
    cells: dict[str, Cell] = {}
    for cell in experiment.cells():
        cells.setdefault(cell.model, cell)
    return list(cells.values())


def run(experiment: Experiment, recorded: Results, runs: list[Run], display: Display, load: Load = client.load) -> None:
    """Measure what is to be done. Results are written after each run: Ctrl-C loses the present one and no other.

    Interrupted results have `finished` None. Raises Failed when they cannot be written, and, with what is finished
    kept, when who sends the load is lost.
    """
    write(recorded, experiment)
    try:
        for each in runs:
            display.begin(each)
            record = run_cell(experiment, each, display.hear, load)
            recorded["runs"].append(record)
            write(recorded, experiment)
            display.end(each, record)
    except KeyboardInterrupt:
        return
    except LoadLost as lost:  # every later run would fail of it, and be charged to a server
        again = f"septet bench --resume {shlex.quote(str(experiment.out))}"
        raise Failed(f"{lost}; with all there again: {again}") from None
    results.finish(recorded)
    write(recorded, experiment)


def write(recorded: Results, experiment: Experiment) -> None:
    """Write results.json into the experiment's directory. Raises Failed when that is not possible."""
    output.make(experiment.out)
    try:
        results.write(recorded, experiment.out)
    except OSError as error:
        raise output.unwritable(experiment.out, error) from None


def taken_up(directory: Path) -> tuple[Results, Experiment]:
    """An interrupted experiment, to be finished. Raises Failed when there is none in the directory."""
    recorded = results.read(directory / results.NAME)
    if recorded["finished"] is not None:
        raise Failed(f"{directory} holds an experiment that is finished")
    try:
        return recorded, replace(Experiment.from_values(recorded["experiment"]), out=directory)
    except (KeyError, TypeError, ValueError) as error:
        raise Failed(f"{directory / results.NAME} is damaged: its experiment cannot be taken up ({error!r})") from None
