"""Where a verb writes what it found: its directory, and a file of records that is there whole or not at all."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from septet.errors import Failed

DRAWING = "drawing the pictures ..."
"""It takes seconds, and nothing else tells of them."""


def now() -> str:
    """UTC, ISO 8601, to the second: what stands in files."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def dated(verb: str) -> Path:
    """The directory of a verb that was not given --out: verb-DATE-TIME, in local time, for a person looks for it."""
    return Path(f"{verb}-{datetime.datetime.now():%Y-%m-%d-%H%M%S}")


def make(directory: Path) -> Path:
    """The directory, which is there now, with those around it. Raises Failed when that is not possible."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(directory, error) from None
    return directory


def unwritable(directory: Path, error: OSError) -> Failed:
    """The sentence about a directory that cannot be written to."""
    return Failed(f"--out: {directory} cannot be written to: {error.strerror}")


def write_runs(path: Path, values: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> None:
    """Write `values` as JSON, with `runs` as their last key, one run a line.

    Raises OSError; the file is as it was then. A line each, so that two files can be laid side by side with line tools.
    """
    head = json.dumps({**values, "runs": []}, indent=1)
    lines = ",\n".join(json.dumps(run, separators=(",", ":")) for run in runs)
    temporary = path.with_suffix(".json.new")
    try:
        temporary.write_text(head.removesuffix("[]\n}") + f"[\n{lines}\n]\n}}\n")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # half of a file helps nobody, least of all a disk that is full
        raise
