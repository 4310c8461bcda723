"""The experiment of `septet bench`: a grid of cells, each of which is run several times.

A cell is one contender (a process model, or another server) with one setting of the varied options (--sweep) at one
number of users. Each round runs all cells in a new random order, so that other work of the machine, such as a backup,
affects all of them alike. Cells with the same number of users are compared with each other, so they run one after
another.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from septet.interpreter import has_gil
from septet.lab.applications import GUESTBOOK, GUESTBOOK_PATH
from septet.lab.contenders import OtherServer, search_path
from septet.lab.interpreters import SETTING, Interpreter, lend
from septet.lab.pinning import Pinning
from septet.lab.pool import Pool
from septet.lab.server import LOOPBACK

__all__ = ["GUESTBOOK", "GUESTBOOK_PATH", "STORE", "Cell", "Experiment", "Run"]

STORE = "GUESTBOOK_STORE"

Setting = tuple[tuple[str, str], ...]
"""(name, value) of each option of `septet serve` that is varied (--sweep); names are without the leading --."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One contender (a process model, or another server) with one setting of the varied options at one number of
    simultaneous users.
    """

    model: str
    users: int
    setting: Setting = ()

    @property
    def label(self) -> str:
        """Text that names the contender and its setting, such as at a line of a chart."""
        return " ".join([self.model, *(f"{name}={value}" for name, value in self.setting)])


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a cell. `repeat`: the number of the run among those of the same cell, from 1; it goes on from round to
    round.
    """

    cell: Cell
    repeat: int = 1


def _by_lot(cells: Sequence[Cell], chance: random.Random) -> list[Cell]:
    """Return the cells in a random order: the numbers of users are shuffled, and then the cells with the same number,
    which are compared with each other, so that these run soon after one another.
    """
    users = list(dict.fromkeys(cell.users for cell in cells))
    chance.shuffle(users)
    order: list[Cell] = []
    for number in users:
        here = [cell for cell in cells if cell.users == number]
        order += chance.sample(here, len(here))
    return order


ONE_PROCESS = {"SEPTET_SUPERVISOR": "no"}
"""Environment variables of the servers that are measured: they run without a supervisor, which would be a process that
does not serve.
"""


@dataclass(frozen=True)
class Experiment:
    """What is varied between the cells of the experiment, and all settings that are the same in every cell."""

    out: Path
    models: tuple[str, ...]
    """Process models of `septet serve`."""
    users: tuple[int, ...] = (20, 100, 500, 1000)
    app: str = GUESTBOOK
    """The name of the application in tables and texts."""
    app_words: tuple[str, ...] = (GUESTBOOK,)
    """The arguments with which `septet serve` serves the application."""
    path: str = GUESTBOOK_PATH
    mode: str = "close"
    """How the load generator connects: "close" is a new connection for each request, "http10" the same over HTTP/1.0,
    "keep-alive" one connection for many requests.
    """
    streams: int = 0
    """Over HTTP/2: number of users who share a connection, each of them one stream of it; 0: HTTP/1.1."""
    duration_s: float = 1.0
    warmup_s: float = 0.5
    """Seconds that the warm-up lasts at least."""
    warmup_max_s: float = 2.0
    """Seconds that the warm-up lasts at most; after `warmup_s` it ends as soon as the rate is steady."""
    timeout_s: float = 10.0
    """Seconds that a request may take; one that takes longer counts as an error."""
    start_timeout_s: float = 15.0
    """Seconds from the start of a server to its first answer; if they pass, the run has failed."""
    stop_timeout_s: float = 5.0
    expect_length: int | None = None
    scenario: Path | None = None
    repeats: int = 1
    for_s: float | None = None
    """If this is given, `repeats` does not count: rounds are run until the ranking is decided, but for at most this
    many seconds; see `septet.lab.rounds`.
    """
    turns: int = 1
    """How often each server is loaded and measured in a round, if `for_s` is given."""
    users_per_window: int = 0
    """If there are more users than this, the measured time (window) is longer in proportion, so that the requests in
    flight at its ends are few compared with all. 0: it is never longer.
    """
    short: tuple[tuple[int, float], ...] = ()
    """(number of users, seconds): where an answer comes so soon that a shorter window suffices, that window; see
    `septet.lab.rounds.with_short_windows`. Servers that turn out to be slow have the whole window even there.
    """
    short_turns: int = 1
    """What `turns` is for the numbers of users that are in `short`."""
    seed: int = 0
    """Seed of the random numbers that decide the order of runs."""
    sweeps: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(name, values) of each option of `septet serve` that is varied (--sweep); names are without the leading --."""
    lacking: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For each model that does not take all varied options (--sweep): the options that it does not take."""
    others: tuple[OtherServer, ...] = ()
    pool: Pool | None = None
    """The numbers of processes and threads that all contenders have, see `septet.lab.pool`; None: each has its own
    default.
    """
    pool_told: str | None = None
    """The sentence that says which pool (numbers of processes and threads) each contender has; None: options say it.
    """
    pythons: tuple[Interpreter, ...] = ()
    """Interpreters under which each model is measured; empty: only the one that runs the lab."""
    profile: str | None = None
    serve_options: tuple[str, ...] = ()
    model_options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    store: str | None = None
    """Where the guestbook keeps its entries, as a value for its environment variable GUESTBOOK_STORE. None: the
    variable of this process, or, if that is not set, a new SQLite file for each run.
    """
    host: str = LOOPBACK
    """IP address of this machine at which the servers listen and the users connect."""
    cluster: str | None = None
    """The value of --cluster, the workers that send the load (see `septet.lab.cluster`); None: this machine does."""
    pinned: Pinning = field(default_factory=Pinning)
    server: tuple[str, ...] = (sys.executable, "-m", "septet", "serve")
    """The beginning of the command line that starts a process model."""

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Experiment:
        """Rebuild an experiment from the result of its method `values`, also after that was stored as JSON."""
        lists = {name: tuple(values[name]) for name in ("models", "users", "app_words", "serve_options", "server")}
        return cls(
            **{
                **values,
                **lists,
                "out": Path(values["out"]),
                "scenario": Path(values["scenario"]) if values["scenario"] else None,
                "sweeps": tuple((name, tuple(each)) for name, each in values["sweeps"]),
                "short": tuple((users, seconds) for users, seconds in values.get("short", ())),
                "others": tuple(OtherServer(**each) for each in values["others"]),
                "pool": Pool(**values["pool"]) if values.get("pool") else None,
                "pythons": tuple(Interpreter(**each) for each in values.get("pythons", ())),
                "model_options": {name: tuple(words) for name, words in values["model_options"].items()},
                "lacking": {name: tuple(words) for name, words in values.get("lacking", {}).items()},
                "pinned": Pinning(*(tuple(cpus) for cpus in values["pinned"])),
            }
        )

    def values(self) -> dict[str, Any]:
        """Return the experiment as plain values for JSON."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}

    @property
    def contenders(self) -> tuple[str, ...]:
        return self.models + tuple(other.name for other in self.others)

    def cells(self) -> list[Cell]:
        """Return every cell once, in the order of the tables."""
        return [
            Cell(contender, users, setting)
            for users in self.users
            for contender in self.contenders
            for setting in self._settings(contender)
        ]

    def runs(self) -> list[Run]:
        """Return the runs of all cells: each cell `repeats` times. Every repeat has a new random order; if there is
        only one, it has the order of the tables.
        """
        chance = random.Random(self.seed)
        runs = []
        for repeat in range(1, self.repeats + 1):
            cells = _by_lot(self.cells(), chance) if self.repeats > 1 else self.cells()
            runs += [Run(cell, repeat) for cell in cells]
        return runs

    def round(self, cells: Sequence[Cell], place: int) -> list[list[Run]]:
        """Return the runs of a round: one list for each number of users, in which each of the cells with that number of
        users is run `turns_at` times. All of these cells are run once before any of them is run again.

        The orders are random, but depend only on the seed and on `place`, the number of the round, from 1.
        """
        chance = random.Random(f"{self.seed} {place}")
        blocks = [[cell for cell in cells if cell.users == users] for users in dict.fromkeys(c.users for c in cells)]
        chance.shuffle(blocks)
        return [
            [
                Run(cell, repeat)
                for repeat in self._repeats(block[0].users, place)
                for cell in chance.sample(block, len(block))
            ]
            for block in blocks
        ]

    def turns_at(self, users: int) -> int:
        """Return how often each server is loaded and measured in a round at this number of users."""
        return self.turns if self.short_s(users) is None else self.short_turns

    def _repeats(self, users: int, place: int) -> range:
        """Return the numbers of the runs of each cell with this number of users in round number `place`."""
        turns = self.turns_at(users)
        return range((place - 1) * turns + 1, place * turns + 1)

    def place(self, run: Run) -> int:
        """Return the number of the round that a run belongs to, from 1."""
        return (run.repeat - 1) // self.turns_at(run.cell.users) + 1

    def _settings(self, contender: str) -> list[Setting]:
        """Return all combinations of the values of those varied options that this contender takes. For a model, the
        interpreters of --pythons are varied like an option. If there is nothing to vary, the list has one empty
        combination.
        """
        swept = [[(name, value) for value in values] for name, values in self.sweeps if self._has(contender, name)]
        if self.pythons and self._other(contender) is None:
            swept.insert(0, [(SETTING, python.name) for python in self.pythons])
        return list(itertools.product(*swept))

    def _has(self, contender: str, option: str) -> bool:
        """True if a contender takes a varied option. A server other than Septet does if its command has the option's
        name in braces.
        """
        other = self._other(contender)
        return option in other.fields if other else option not in self.lacking.get(contender, ())

    def _other(self, name: str) -> OtherServer | None:
        return next((other for other in self.others if other.name == name), None)

    def command(self, cell: Cell, port: int) -> list[str]:
        """Return the command that starts the server of a cell."""
        other = self._other(cell.model)
        if other is not None:
            given = {"host": self.host, "port": port, "app": self.app_words[0]}
            return other.words({**(self.pool or Pool()).values, **given, **dict(cell.setting)})
        words = [*self.server, *self.app_words, "--model", cell.model, "--bind", f"{self._authority}:{port}"]
        words += [*self.serve_options, *self.model_options.get(cell.model, ())]
        if (python := self._python(cell)) is not None:
            words[0] = python.executable
        for name, value in cell.setting:
            words += [f"--{name}", value] if name != SETTING else []
        return words

    def _python(self, cell: Cell) -> Interpreter | None:
        """Return the interpreter that the setting of a cell names; None if it names none."""
        name = dict(cell.setting).get(SETTING)
        return next((python for python in self.pythons if python.name == name), None)

    def has_gil(self, cell: Cell) -> bool:
        """True unless the cell's interpreter is a free-threaded build. (An extension may have turned the GIL on again
        in the server, which cannot be seen from here.)
        """
        python = self._python(cell)
        return has_gil() if python is None else "free-threading build" not in python.version

    def environment(self, scratch: Path, cell: Cell | None = None) -> dict[str, str]:
        """Return the environment variables that a server gets in addition to those of this process. The guestbook gets
        a new SQLite file in the directory `scratch`, unless the user named a store. `cell`: the cell whose server it
        is; None: the server of any process model.
        """
        other = self._other(cell.model) if cell is not None else None
        variables = dict(ONE_PROCESS) if other is None else {}
        if other is not None:
            variables = {"PATH": search_path(), **other.environment}
        if cell is not None and self._python(cell) is not None:
            variables["PYTHONPATH"] = lend(scratch)
        if self.store is not None:
            variables[STORE] = self.store
        elif any(word.startswith("septet.examples.guestbook:") for word in self.app_words) and STORE not in os.environ:
            variables[STORE] = f"sqlite:///{scratch.absolute() / 'guestbook.sqlite3'}"
        return variables

    def with_store(self, url: str | None) -> Experiment:
        return self if url is None else replace(self, store=url)

    def window_s(self, users: int) -> float:
        """Return the measured time, in seconds, of a run with this many users."""
        return self.duration_s * max(1.0, users / (self.users_per_window or users))

    def short_s(self, users: int) -> float | None:
        """Return the measured time, in seconds, of a run with this many users, of a server that is not slow; None if it
        is as long as that of a slow one.
        """
        return dict(self.short).get(users)

    def url(self, port: int) -> str:
        return f"{'https' if self.tls else 'http'}://{self._authority}:{port}{self.path}"

    @property
    def protocol(self) -> str:
        """The version of HTTP that users speak."""
        return "HTTP/2" if self.streams else "HTTP/1.0" if self.mode == "http10" else "HTTP/1.1"

    @property
    def tls(self) -> bool:
        """True if the options of `septet serve` name a certificate."""
        return any(word.startswith("--tls-certificate") for word in self.serve_options)

    @property
    def _authority(self) -> str:
        """The host as it stands in a URL (RFC 3986 section 3.2.2): an IPv6 address is in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host
