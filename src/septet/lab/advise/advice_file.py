"""advice.json: all that was measured, run by run, and what was concluded from it.

The file is written after every candidate, so that Ctrl-C or a crash loses at most what was measured of one candidate.
`septet advise --resume` repeats the search with the results in the file in place of runs that it has already, and goes
on measuring from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import septet
from septet.errors import Failed
from septet.lab import machine, output
from septet.lab.experiment import Experiment

NAME = "advice.json"
SCHEMA = 1


class AdviceFile:
    """The content of advice.json so far; `write` stores it. TrialRunner appends the record of each run to `runs`."""

    def __init__(self, experiment: Experiment, command: list[str], asked: dict[str, Any]) -> None:
        self.directory = experiment.out
        self.runs: list[dict[str, Any]] = []
        self._values: dict[str, Any] = {
            "schema": SCHEMA,
            "septet": septet.__version__,
            "started": output.now(),
            "finished": None,  # stays None when the search is interrupted
            "resumed": [],  # the times at which it was resumed
            "command": command,
            "machine": machine.describe(),
            "asked": asked,
            "experiment": experiment.values(),
        }

    @classmethod
    def interrupted(cls, place: Path) -> tuple[AdviceFile, Experiment, dict[str, Any]]:
        """Read the file of an interrupted search, to go on with it. Returns its content, its experiment, and the values
        of `septet advise`'s own options such as `p99_s` and `budget_s`.

        `place` is an advice.json, or the directory that holds one. Raises Failed when there is none, when the search
        was finished, and when the file is damaged.
        """
        path = place / NAME if place.is_dir() else place
        try:
            values = json.loads(path.read_text())
        except FileNotFoundError:
            raise Failed(f"--resume: {path} is not there; `septet advise` writes {NAME} into its directory") from None
        except (OSError, ValueError) as error:
            raise Failed(f"--resume: {path} cannot be read: {error}") from None
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            raise Failed(f"--resume: {path} is no file of schema {SCHEMA} of `septet advise`")
        if values.get("finished") is not None:
            raise Failed(f"--resume: the search of {path} is finished")
        try:
            experiment = replace(Experiment.from_values(values["experiment"]), out=path.parent)
            asked = {name: values["asked"][name] for name in ("p99_s", "budget_s", "plan", "users", "named")}
            found = cls(experiment, values["command"], asked)
            found.runs = [dict(run) for run in values.pop("runs")]
            _ = [(run["model"], run["setting"], run["users"], run["rate"]) for run in found.runs]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Failed(f"--resume: {path} is damaged: its search cannot be taken up ({error!r})") from None
        found._values |= {name: values[name] for name in ("started", "machine") if name in values}
        found._values["resumed"] = [*values.get("resumed", []), output.now()]
        return found, experiment, asked

    @property
    def path(self) -> Path:
        return self.directory / NAME

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Context manager: make the output directory; on leaving, remove it if it is new and holds no advice.json.

        Raises Failed if it cannot be made.
        """
        new = not self.directory.exists()
        output.make(self.directory)
        try:
            yield
        finally:
            if new and not self.path.exists():
                with suppress(OSError):
                    self.directory.rmdir()

    def write(self, conclusion: dict[str, Any], finished: bool = False) -> None:
        """Write all runs, one on each line, and `conclusion`, which is what `advice_text.values` returns. The file is
        replaced whole or not at all. `finished`: False if the search still goes on.

        Raises Failed when the file cannot be written.
        """
        if finished:
            self._values["finished"] = output.now()
        try:
            output.write_runs(self.path, {**self._values, **conclusion}, self.runs)
        except OSError as error:
            raise output.unwritable(self.directory, error) from None
