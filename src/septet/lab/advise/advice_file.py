"""advice.json: all that was measured, run by run, and what was concluded from it.

Written after every candidate, so that Ctrl-C or a crash costs no more than one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import septet
from septet.lab import machine, output
from septet.lab.experiment import Experiment

NAME = "advice.json"
SCHEMA = 1


class AdviceFile:
    """The content of advice.json so far; `write` stores it. TrialRunner appends the record of each run to `runs`."""

    def __init__(self, experiment: Experiment, command: list[str], asked: dict[str, Any]) -> None:
        self._directory = experiment.out
        self.runs: list[dict[str, Any]] = []
        self._values: dict[str, Any] = {
            "schema": SCHEMA,
            "septet": septet.__version__,
            "started": output.now(),
            "finished": None,  # stays None when the search is interrupted
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
        """Make the directory; on leaving, remove it if it is new and holds no advice.json.

        Raises Failed when it cannot be made.
        """
        new = not self._directory.exists()
        output.make(self._directory)
        try:
            yield
        finally:
            if new and not self.path.exists():
                with suppress(OSError):
                    self._directory.rmdir()

    def write(self, conclusion: dict[str, Any], finished: bool = False) -> None:
        """Write all runs and `conclusion`, the values of `advice_text.values`: whole or not at all, one run a line.

        Raises Failed when the file cannot be written.
        """
        if finished:
            self._values["finished"] = output.now()
        try:
            output.write_runs(self.path, {**self._values, **conclusion}, self.runs)
        except OSError as error:
            raise output.unwritable(self._directory, error) from None
