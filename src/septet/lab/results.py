"""results.json: raw figures, recorded once; every table and chart is made from it later.

The layout is meant to be read by programs of later versions, and by people: one cell a line, so that two files can be
laid side by side with line tools.
"""

from __future__ import annotations

import datetime
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import septet
from septet.errors import Failed
from septet.lab import machine
from septet.lab.experiment import Experiment

SCHEMA = 1
NAME = "results.json"

Results = dict[str, Any]


def begin(experiment: Experiment, command: list[str]) -> Results:
    """Results without cells: what was asked for, by which command, and where."""
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(experiment).items()}
    return {
        "schema": SCHEMA,
        "septet": septet.__version__,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "finished": None,  # stays so when it was interrupted
        "command": command,
        "machine": machine.describe(),
        # Two processors would not show what many processes gain if server and generator were bound to one each.
        "pinning": "none",
        "experiment": settings,
        "cells": [],
    }


def finish(results: Results) -> None:
    results["finished"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def write(results: Results, directory: Path) -> Path:
    """Write results.json whole or not at all; returns its path."""
    path = directory / NAME
    temporary = path.with_suffix(".json.new")
    cells = ",\n".join(json.dumps(cell, separators=(",", ":")) for cell in results["cells"])
    head = json.dumps({**results, "cells": []}, indent=1)
    temporary.write_text(head.removesuffix("[]\n}") + f"[\n{cells}\n]\n}}\n")
    os.replace(temporary, path)
    return path


def read(path: Path) -> Results:
    """Raises Failed for what is no results file, or one of a newer version."""
    try:
        results: Results = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Failed(f"{path} cannot be read as results: {error}") from None
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise Failed(f"{path} holds no results of schema {SCHEMA}; this is septet {septet.__version__}")
    return results


def requests_per_s(cell: dict[str, Any]) -> float | None:
    """None for a failed cell: a failure is no figure, least of all zero."""
    return None if cell["verdict"] == "failed" else float(cell["load"]["requests_per_s"])


def cpu_us_per_request(cell: dict[str, Any]) -> float | None:
    """CPU time of the server's processes, user and system, for one answer in the measured window."""
    if cell["verdict"] == "failed":
        return None
    return float((cell["usage"]["user_s"] + cell["usage"]["system_s"]) * 1e6 / cell["load"]["answers"])


def switches_per_request(cell: dict[str, Any]) -> float | None:
    """Context switches of both kinds for one answer, over the server's whole life; None when that is not known."""
    if cell["verdict"] == "failed" or not cell["stop"]["life"]["complete"]:
        return None
    life, load = cell["stop"]["life"], cell["load"]
    answers = load["answers"] + load["warmup"]["answers"]
    return float((life["voluntary_switches"] + life["involuntary_switches"]) / answers)
