"""Asks `septet serve` which interface an application has: WSGI or ASGI."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.runner import started
from septet.lab.server import free_port

LINES = 100


def is_asynchronous(experiment: Experiment, model: str) -> bool:
    """Start the application under `model`, and return True if `septet serve` logs that it serves it as ASGI.

    Nothing is left on the disk. Raises Failed when the application cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="septet-") as scratch:
        options = (*experiment.serve_options, "--log-level", "debug")
        asking = replace(experiment, out=Path(scratch), serve_options=options)
        with started(asking, Run(Cell(model, 1)), free_port(experiment.host), {}) as server:
            return re.search(r" is served as ASGI", server.last_words(LINES)) is not None
