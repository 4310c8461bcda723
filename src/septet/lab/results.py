"""results.json: raw figures, recorded once; every table and chart is made from it later.

The layout is meant to be read by programs of later versions, and by people: one run a line, so that two files can be
laid side by side with line tools.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import septet
from septet.errors import Failed
from septet.lab import machine, output
from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.results_schema import complaint

SCHEMA = 2
NAME = "results.json"

Results = dict[str, Any]


def begin(experiment: Experiment, command: list[str]) -> Results:
    """Results without runs: what was asked for, by which command, and where."""
    return {
        "schema": SCHEMA,
        "septet": septet.__version__,
        "started": output.now(),
        "finished": None,  # stays so when it was interrupted
        "command": command,
        "resumed": [],  # when it was taken up again
        "machine": machine.describe(),
        "workers": {},  # of a cluster, from which the load came
        "experiment": experiment.values(),
        "runs": [],
    }


def resume(results: Results) -> list[Run]:
    """The runs that are still to be done; notes that they are done now."""
    results["resumed"].append(output.now())
    done = {run_of(record) for record in results["runs"]}
    return [run for run in Experiment.from_values(results["experiment"]).runs() if run not in done]


def run_of(record: dict[str, Any]) -> Run:
    return Run(Cell(record["model"], record["users"], tuple(record["setting"].items())), record["repeat"])


def finish(results: Results) -> None:
    results["finished"] = output.now()


def write(results: Results, directory: Path) -> Path:
    """Write results.json whole or not at all; returns its path."""
    path = directory / NAME
    others = {name: value for name, value in results.items() if name != "runs"}
    output.write_runs(path, others, results["runs"])
    return path


def read(path: Path) -> Results:
    """Raises Failed for what is no results file, one of another schema, or one that is damaged."""
    try:
        results: Results = json.loads(path.read_text(), parse_constant=_refused, parse_float=_finite)
    except FileNotFoundError:
        raise Failed(f"{path} is not there; `septet bench` writes {NAME} into its directory") from None
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Failed(f"{path} cannot be read as results: {error}") from None
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise Failed(f"{path} holds no results of schema {SCHEMA}; this is septet {septet.__version__}")
    if (wrong := complaint(results)) is not None:
        raise Failed(f"{path} is damaged: {wrong}")
    return results


def _refused(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    """JSON allows 1e999, of which Python makes infinity: nothing that was measured."""
    number = float(text)
    return number if math.isfinite(number) else _refused(text)
