"""results.json: raw figures, recorded once; every table and chart is made from it later.

The layout is meant to be read by programs of later versions, and by people: one run a line, so that two files can be
laid side by side with line tools.
"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

import septet
from septet.errors import Failed
from septet.lab import machine
from septet.lab.experiment import Cell, Experiment, Run

SCHEMA = 2
NAME = "results.json"

Results = dict[str, Any]


def begin(experiment: Experiment, command: list[str]) -> Results:
    """Results without runs: what was asked for, by which command, and where."""
    return {
        "schema": SCHEMA,
        "septet": septet.__version__,
        "started": _now(),
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
    results["resumed"].append(_now())
    done = {run_of(record) for record in results["runs"]}
    return [run for run in Experiment.from_values(results["experiment"]).runs() if run not in done]


def run_of(record: dict[str, Any]) -> Run:
    return Run(Cell(record["model"], record["users"], tuple(record["setting"].items())), record["repeat"])


def finish(results: Results) -> None:
    results["finished"] = _now()


def write(results: Results, directory: Path) -> Path:
    """Write results.json whole or not at all; returns its path."""
    path = directory / NAME
    temporary = path.with_suffix(".json.new")
    runs = ",\n".join(json.dumps(run, separators=(",", ":")) for run in results["runs"])
    others = {name: value for name, value in results.items() if name != "runs"}
    head = json.dumps({**others, "runs": []}, indent=1)
    temporary.write_text(head.removesuffix("[]\n}") + f"[\n{runs}\n]\n}}\n")
    os.replace(temporary, path)
    return path


def read(path: Path) -> Results:
    """Raises Failed for what is no results file, or one of another schema."""
    try:
        results: Results = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Failed(f"{path} cannot be read as results: {error}") from None
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise Failed(f"{path} holds no results of schema {SCHEMA}; this is septet {septet.__version__}")
    return results


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
