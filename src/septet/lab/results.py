"""results.json: the raw figures of an experiment, which are recorded once. All tables and charts are made from this
file later.

The layout is for programs of later versions and for people: each run is on one line, so that line tools can compare two
files.
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
    """Return new results, without any run yet: the description of the experiment, the command line that began it, and
    the machine.
    """
    return {
        "schema": SCHEMA,
        "septet": septet.__version__,
        "started": output.now(),
        "finished": None,  # stays None when it is interrupted
        "ended": None,  # with a limit in time: "decided" or "time"
        "command": command,
        "protocol": experiment.protocol,
        "resumed": [],  # the times at which it was resumed
        "machine": machine.describe(),
        "alone": {},  # what a single user found before the first run
        "workers": {},  # of the cluster that the load comes from
        "experiment": experiment.values(),
        "where": None,  # parts of a request's time, recorded after the last run; None: not asked for, or not yet
        "runs": [],
    }


MODE_WORDS = {
    "close": "a new connection for every request",
    "http10": "a new HTTP/1.0 connection for every request",
    "keep-alive": "connections kept alive",
}


def connections(results: Results) -> str:
    """Return in words which connections the simulated users of an experiment made."""
    experiment = results["experiment"]
    return spoken(results) if experiment.get("streams") else MODE_WORDS[experiment["mode"]]


def spoken(results: Results) -> str:
    """Return the protocol that the simulated users of an experiment spoke, as text, such as "HTTP/2 (10 streams on a
    connection)".
    """
    experiment = results["experiment"]
    if streams := experiment.get("streams"):  # results of older versions have none
        return f"HTTP/2 ({streams} {'stream' if streams == 1 else 'streams'} on a connection)"
    return "HTTP/1.0" if experiment["mode"] == "http10" else "HTTP/1.1"


def resume(results: Results) -> list[Run]:
    """Return those runs of an interrupted experiment that are not recorded yet, and add to the results that it is
    resumed now.
    """
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
    """Read a results file. Raises Failed if it is missing, is not a results file, is damaged, or has a version of the
    layout (schema) that is not supported.
    """
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
    raise ValueError(f"{word} is not a JSON number")


def _finite(text: str) -> float:
    """Parse a number of results.json as a float. Raises ValueError for 1e999, which is valid JSON but infinity in
    Python."""
    number = float(text)
    return number if math.isfinite(number) else _refused(text)
