"""The record of a run: raw blocks as JSON, the tables as Markdown, and what they were measured on."""

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from environment import program_version
from report import document
from results import Outcome


@dataclass(frozen=True)
class Record:
    """Where a run is written (a path without suffix) and the facts that its figures depend on."""

    path: Path
    head: dict[str, str]

    @classmethod
    def begin(cls, options: argparse.Namespace) -> "Record":
        now = datetime.now(UTC)
        head = {
            "date": f"{now:%Y-%m-%d %H:%M} UTC",
            "command": shlex.join(["python3", *sys.argv]),
            "seed": str(options.seed),
            "rounds": f"{options.rounds} of {options.duration} s",
            "machine": f"{_processor()}, {os.cpu_count()} CPUs",
            "kernel": platform.release(),
            "Python": platform.python_version(),
            "wrk": program_version("wrk"),
            "load average at the start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        }
        return cls(options.out / f"{now:%Y-%m-%dT%H%M}", head)

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Write PATH.json and PATH.md with the scenarios that are finished."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        raw = {"head": self.head, "scenarios": [outcome.record() for outcome in outcomes]}
        self.path.with_suffix(".json").write_text(json.dumps(raw, indent=1) + "\n")
        self.path.with_suffix(".md").write_text(document(self.head, outcomes))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
