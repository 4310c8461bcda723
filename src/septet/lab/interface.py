"""Asks `septet serve` how it serves an application: as WSGI or ASGI, and with or without a global lock (the GIL)."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.runner import started
from septet.lab.server import free_port


@dataclass(frozen=True, slots=True)
class Served:
    """What `septet serve` logs of an application that it has loaded."""

    asynchronous: bool
    """True if it is served as ASGI, False if as WSGI."""
    has_gil: bool
    """False if the threads of the server run at the same time."""
    gil_turned_on_by: str | None
    """The extension module of the application that has turned the GIL on in a free-threaded build of Python; None: none
    has.
    """


def served(experiment: Experiment, model: str) -> Served:
    """Start the application under `model`, and return what `septet serve` logs of it.

    Nothing is left on the disk. Raises Failed when the application cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="septet-") as scratch:
        options = (*experiment.serve_options, "--log-level", "debug")
        asking = replace(experiment, out=Path(scratch), serve_options=options)
        with started(asking, Run(Cell(model, 1)), free_port(experiment.host), {}) as server:
            return _read(server.output())


def _read(logged: str) -> Served:
    turned_on = re.search(r"SEP161 the module (\S+) has turned the global lock", logged)
    return Served(
        asynchronous=re.search(r" is served as ASGI", logged) is not None,
        has_gil=re.search(r"this Python runs without a global lock", logged) is None,
        gil_turned_on_by=turned_on[1] if turned_on is not None else None,
    )
