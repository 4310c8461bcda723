"""What `septet bench` shall measure: a grid of cells, each one model at one number of users."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

GUESTBOOK = "septet.examples.guestbook:wsgi"
GUESTBOOK_PATH = "/guestbook"
STORE = "GUESTBOOK_STORE"


@dataclass(frozen=True, slots=True)
class Cell:
    """One model at one number of simultaneous users."""

    model: str
    users: int


@dataclass(frozen=True, slots=True)
class Experiment:
    """All that is the same in every cell, and the two axes. Times in seconds."""

    out: Path
    models: tuple[str, ...]
    users: tuple[int, ...] = (20, 100, 500, 1000)
    app: str = GUESTBOOK
    path: str = GUESTBOOK_PATH
    mode: str = "close"  # how the load generator connects: "close", "http10" or "keep-alive"
    duration_s: float = 2.0
    warmup_s: float = 0.5
    timeout_s: float = 10.0  # for one request
    start_timeout_s: float = 15.0  # for the server to answer for the first time
    stop_timeout_s: float = 5.0
    expect_length: int | None = None
    serve_options: tuple[str, ...] = ()
    server: tuple[str, ...] = (sys.executable, "-m", "septet", "serve")  # begins the command of each cell

    def cells(self) -> list[Cell]:
        """All models at one number of users, then at the next: a machine that slows down slows all models alike."""
        return [Cell(model, users) for users in self.users for model in self.models]

    def command(self, cell: Cell, port: int) -> list[str]:
        """What starts the server of a cell."""
        bind = f"127.0.0.1:{port}"
        return [*self.server, self.app, "--model", cell.model, "--bind", bind, *self.serve_options]

    def environment(self, scratch: Path) -> dict[str, str]:
        """Variables that a server gets beside those of ours: a new store in `scratch`, unless the user named one."""
        if self.app != GUESTBOOK or STORE in os.environ:
            return {}
        return {STORE: f"sqlite:///{scratch.absolute() / 'guestbook.sqlite3'}"}

    def url(self, port: int) -> str:
        return f"http://127.0.0.1:{port}{self.path}"
