"""`septet bench`: all cells of an experiment, one after the other, written down as they come."""

from __future__ import annotations

import subprocess
import sys

from septet.errors import Failed, UsageError
from septet.lab import results
from septet.lab.display import Display
from septet.lab.experiment import Experiment
from septet.lab.results import Results
from septet.lab.runner import run_cell

NAMES_TIMEOUT_S = 30.0


def model_names() -> tuple[str, ...]:
    """The models that `septet serve` knows, asked of it as any user would."""
    command = [sys.executable, "-m", "septet", "models", "--names"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=NAMES_TIMEOUT_S, check=True)
    except subprocess.TimeoutExpired:
        raise Failed(f"`septet models --names` did not end within {NAMES_TIMEOUT_S:g} s") from None
    except subprocess.CalledProcessError as error:
        raise Failed(f"`septet models --names` failed: {error.stderr.strip()}") from None
    return tuple(answer.stdout.split())


def choose_models(wanted: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The models in a list with commas, in its order; all when there is no list. Raises UsageError for unknown ones."""
    if wanted is None:
        return known
    chosen = tuple(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise UsageError(f"--models: {', '.join(unknown) or wanted!r} is not among {', '.join(known)}")
    return chosen


def run(experiment: Experiment, command: list[str], display: Display) -> Results:
    """Measure every cell. The results are written after each one: Ctrl-C loses the present one and no other.

    Interrupted results have `finished` None. Raises Failed when they cannot be written.
    """
    recorded = results.begin(experiment, command)
    _write(recorded, experiment)
    try:
        for cell in experiment.cells():
            display.begin(cell)
            record = run_cell(experiment, cell, display.hear)
            recorded["cells"].append(record)
            _write(recorded, experiment)
            display.end(cell, record)
    except KeyboardInterrupt:
        return recorded
    results.finish(recorded)
    _write(recorded, experiment)
    return recorded


def _write(recorded: Results, experiment: Experiment) -> None:
    try:
        experiment.out.mkdir(parents=True, exist_ok=True)
        results.write(recorded, experiment.out)
    except OSError as error:
        raise Failed(f"--out: {experiment.out} cannot be written to: {error.strerror}") from None
