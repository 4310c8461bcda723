"""`septet bench --live`: a page that shows an experiment while it runs.

After each run the state is written to a file, which is replaced whole or not at all. A separate server, `septet serve`
with the example `septet.examples.live`, sends the state to browsers. It runs on the CPUs of the load generator, and
takes no CPU time as long as no browser has the page open.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from septet.errors import Failed
from septet.lab.display import Display
from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.metric import Metric
from septet.lab.metrics import P99, RATE
from septet.lab.palette import style_of
from septet.lab.results import Results, run_of
from septet.lab.server import LOOPBACK, free_port
from septet.lab.statistics import estimate

APPLICATION = "septet.examples.live:application"
VARIABLE = "SEPTET_LIVE_STATE"
START_S = 20.0
LAST_LOOK_S = 1.0
"""Seconds for which the live page's server runs on after the last state was written, so that open pages receive it."""
FIGURES = (RATE, P99)


START = {
    "title": "septet bench",
    "about": "",
    "now": "Trying whether the application answers ...",
    "open": "",
    "done": 0.0,
    "users": [],
    "figures": [],
    "finished": False,
}
"""What the live page shows before the first experiment. Every later state of the page has the same keys."""


class LivePage:
    """The file from which the server of the page of --live reads the state that it shows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write(START)

    def write(self, state: Mapping[str, Any]) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(state, separators=(",", ":")))
        os.replace(new, self.path)


@contextmanager
def serving(cpus: Iterable[int]) -> Iterator[tuple[LivePage, str]]:
    """Context manager: start the live page's server on these CPUs (if there are none, on any), and give the page and
    its URL. Raises Failed if the server does not start.
    """
    with tempfile.TemporaryDirectory(prefix="septet-live-") as directory:
        page, port = LivePage(Path(directory, "state.json")), free_port()
        words = [
            sys.executable,
            "-m",
            "septet",
            "serve",
            APPLICATION,
            "--model",
            "epoll",
            "--bind",
            f"{LOOPBACK}:{port}",
        ]
        environment = {**os.environ, VARIABLE: str(page.path), "SEPTET_SUPERVISOR": "no"}
        log = Path(directory, "log")
        with log.open("w") as complaints:
            process = subprocess.Popen(
                words, env=environment, cwd=directory, stdout=complaints, stderr=complaints, start_new_session=True
            )
        try:
            if chosen := set(cpus) & os.sched_getaffinity(0):
                os.sched_setaffinity(process.pid, chosen)
            _await(process, port, log)
            yield page, f"http://{LOOPBACK}:{port}/"
            time.sleep(LAST_LOOK_S)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1):
            return
        time.sleep(0.05)
    said = log.read_text().strip().splitlines()[-1:]
    raise Failed(f"--live: the page's server did not start{': ' + said[0] if said else ''}")


class LiveDisplay:
    """A display that writes the state of the experiment for the live page, and passes every event on to the terminal's
    display.
    """

    def __init__(
        self, shown: Display, page: LivePage, experiment: Experiment, runs: int | None, before: list[dict[str, Any]]
    ) -> None:
        self._shown, self._page, self._experiment, self._runs = shown, page, experiment, runs
        self._records: dict[Cell, list[dict[str, Any]]] = {}
        self._done = 0
        self._begun_s = time.monotonic()
        self._now = "Starting the first server ..."
        self._open = ""
        for record in before:
            self._records.setdefault(run_of(record).cell, []).append(record)
        self._write()

    def begin(self, run: Run) -> None:
        self._shown.begin(run)
        self._now = f"Measuring {run.cell.label} with {run.cell.users:,} users, for the {_nth(run.repeat)} time"
        self._write()

    def receive(self, event: str, details: dict[str, Any]) -> None:
        self._shown.receive(event, details)

    def end(self, run: Run, record: dict[str, Any]) -> None:
        self._shown.end(run, record)
        self._done += 1
        self._records.setdefault(run.cell, []).append(record)
        self._write()

    def tell(self, state: str) -> None:
        self._shown.tell(state)
        self._open = state
        self._write()

    def close(self, last: bool) -> None:
        """Write the last state of an experiment. `last`: True if no other experiment follows on the same page."""
        self._now = f"The runs are over; the report will be {self._experiment.out / 'report.html'}"
        self._done, self._runs = 1, 1
        self._write(finished=last)

    def _write(self, finished: bool = False) -> None:
        experiment = self._experiment
        windows = sorted({*dict(experiment.short).values(), experiment.duration_s})
        lasts = " to ".join(f"{seconds:g}" for seconds in dict.fromkeys((windows[0], windows[-1])))
        self._page.write(
            {
                "title": f"{experiment.app} under {', '.join(experiment.contenders)}"
                if len(experiment.contenders) < 3
                else f"{experiment.app} under {len(experiment.contenders)} contenders",
                "about": f"GET {experiment.path}; connections: {experiment.mode}; {lasts} s a run",
                "now": self._now,
                "open": self._open,
                "done": self._share(),
                "users": list(experiment.users),
                "figures": [self._figure(metric) for metric in FIGURES],
                "finished": finished,
            }
        )

    def _share(self) -> float:
        """Return how much of the experiment is done, from 0 to 1."""
        if self._runs:
            return min(1.0, self._done / self._runs)
        return min(1.0, (time.monotonic() - self._begun_s) / (self._experiment.for_s or 1.0))

    def _figure(self, metric: Metric) -> dict[str, Any]:
        labels = dict.fromkeys((cell.model, cell.label) for cell in self._experiment.cells())
        lines = [self._line(metric, model, label) for model, label in labels]
        return {"title": metric.chart.title if metric.chart else metric.key, "unit": metric.unit, "lines": lines}

    def _line(self, metric: Metric, model: str, label: str) -> dict[str, Any]:
        style, points, failed = style_of(model), [], []
        for cell in sorted((each for each in self._records if each.label == label), key=lambda each: each.users):
            records = [record for record in self._records[cell] if record["verdict"] != "failed"]
            assert metric.figure is not None, "it is one of FIGURES"
            values = [
                value / (metric.per_unit or 1) for record in records if (value := metric.figure(record)) is not None
            ]
            found = estimate(values)
            if found is None:
                failed.append(cell.users)
                continue
            valid = all(record["verdict"] == "valid" for record in records)
            points.append({"users": cell.users, "valid": valid, **found._asdict()})
        look = {"colour": style.colour, "dark": style.dark, "dash": list(style.dash)}
        return {"label": label, "points": points, "failed": failed, **look}


@contextmanager
def shown_live(
    shown: Display,
    page: LivePage | None,
    experiment: Experiment,
    runs: int | None,
    recorded: Results,
    last: bool,
) -> Iterator[Display]:
    """Context manager: give a display that shows events as `shown` does, and that also writes the state of the
    experiment for the live page. If `page` is None, `shown` itself is given.

    `runs`: number of runs to come; None: not known. `recorded`: the results, in which a resumed experiment has runs
    already. `last`: True if no other experiment follows on the same page.
    """
    if page is None:
        yield shown
        return
    both = LiveDisplay(shown, page, experiment, runs, recorded["runs"])
    try:
        yield both
    finally:
        both.close(last)


def _nth(place: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(place, f"{place}th")
