"""advice.json: all that was measured, run by run, and what was concluded from it.

Written after every candidate, so that Ctrl-C, or the end of the machine, costs one of them and no more.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import septet
from septet.errors import Failed
from septet.lab import machine
from septet.lab.experiment import Experiment

NAME = "advice.json"
SCHEMA = 1


class Evidence:
    """The file, and what is in it so far; `runs` is appended to by who measures."""

    def __init__(self, experiment: Experiment, command: list[str], asked: dict[str, Any]) -> None:
        self._directory = experiment.out
        self.runs: list[dict[str, Any]] = []
        self._values: dict[str, Any] = {
            "schema": SCHEMA,
            "septet": septet.__version__,
            "started": _now(),
            "finished": None,  # stays so when it was interrupted
            "command": command,
            "machine": machine.describe(),
            "asked": asked,
            "experiment": experiment.values(),
        }

    @property
    def path(self) -> Path:
        return self._directory / NAME

    @contextmanager
    def kept(self) -> Iterator[None]:
        """The directory is there; it is gone again if nothing was written into it. Raises Failed."""
        new = not self._directory.exists()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed(error) from None
        try:
            yield
        finally:
            if new and not self.path.exists():
                with suppress(OSError):
                    self._directory.rmdir()

    def write(self, conclusion: dict[str, Any], finished: bool = False) -> None:
        """Write the file whole or not at all, one run a line. Raises Failed."""
        if finished:
            self._values["finished"] = _now()
        head = json.dumps({**self._values, **conclusion, "runs": []}, indent=1)
        runs = ",\n".join(json.dumps(run, separators=(",", ":")) for run in self.runs)
        temporary = self.path.with_suffix(".json.new")
        try:
            temporary.write_text(head.removesuffix("[]\n}") + f"[\n{runs}\n]\n}}\n")
            os.replace(temporary, self.path)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> Failed:
        return Failed(f"--out: {self._directory} cannot be written to: {error.strerror}")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
