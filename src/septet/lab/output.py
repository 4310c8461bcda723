"""Writes the results of a verb: makes the output directory, and writes a file of records whole or not at all."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from septet.errors import Failed

DRAWING = "drawing the pictures ..."
"""Printed before drawing, which takes seconds."""


def now() -> str:
    """Return the present time as text for results files: UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def dated(verb: str) -> Path:
    """Return the default of --out: verb-DATE-TIME, in local time, because people look for it."""
    return Path(f"{verb}-{datetime.datetime.now():%Y-%m-%d-%H%M%S}")


def make(directory: Path) -> Path:
    """Make the directory and its parents, and return it. Raises Failed when that is not possible."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(directory, error) from None
    return directory


def unwritable(directory: Path, error: OSError) -> Failed:
    """Return the error for a directory that cannot be written to."""
    return Failed(f"--out: {directory} cannot be written to: {error.strerror}")


def write_runs(path: Path, values: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> None:
    """Write `values` as JSON, with `runs` as their last key, each run on a line of its own for diff(1).

    The file is replaced whole. If that fails, OSError is raised and the old file is unchanged.
    """
    head = json.dumps({**values, "runs": []}, indent=1)
    lines = ",\n".join(json.dumps(run, separators=(",", ":")) for run in runs)
    temporary = path.with_suffix(".json.new")
    try:
        temporary.write_text(head.removesuffix("[]\n}") + f"[\n{lines}\n]\n}}\n")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # half of a file is of no use, and the disk may be full
        raise
