"""Presets of experiments: `seed` repeats the one from which Septet grew, `modern` is closer to browsers of today.

`two-pages` is two experiments, `computes` and `waits`, whose pages compute or wait, since these are the two reasons why
a process model is slow.

The experiment of `seed` loaded seven servers in C with up to 15,000 users, who opened a new HTTP/1.0 connection for
every page of a guestbook kept in Redis; pools had a hundred processes or threads, and its servers called listen(2) with
a backlog of 10. Its figures are shipped as data, and drawn faintly behind ours.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SEED_FIGURES = Path(__file__).with_name("data") / "seed.csv"

Curves = dict[str, list[tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class Profile:
    """A preset: values for options of `septet bench` that the command line does not give."""

    users: tuple[int, ...]
    mode: str
    options: tuple[str, ...]
    """Options of `septet serve` that every process model gets, as words of the command line."""
    model_options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Options of `septet serve` that single process models get in addition, by the name of the model."""
    redis: bool = False
    """True if a Redis server is started for the experiment, in which the example application, a guestbook, stores its
    entries.
    """
    app: str | None = None
    """The word that names the application of the preset, such as "guestbook" or "wait" (see `septet.lab.applications`).
    None: the command line names the application.
    """
    title: str = ""
    """What the page that the simulated users request does, in a phrase, for headings; "" if the preset does not say."""
    does: str = ""
    """What the application does for a request, in a phrase that follows the title; "" if the preset does not say."""
    short: str = ""
    """What the page that the simulated users request does, in one word, for headings; "" if the preset does not say."""


def seed_curves() -> Curves:
    """Return the rates that were measured in the older experiment from which Septet grew: by the name of the process
    model a list of pairs (number of users, requests per second).
    """
    curves: Curves = {}
    with SEED_FIGURES.open(newline="") as file:
        for row in csv.DictReader(file):
            users = int(row.pop("concurrency"))
            for model, rate in row.items():
                if rate:
                    curves.setdefault(model, []).append((users, float(rate)))
    return curves


def _seed_users() -> tuple[int, ...]:
    return tuple(sorted({users for curve in seed_curves().values() for users, _ in curve}))


def title(name: str | None) -> str:
    """Return what the page does that simulated users request in the experiment with this preset, in a phrase; "" if the
    preset does not say, or `name` is None.
    """
    return profile(name).title if name is not None else ""


def profile(name: str) -> Profile:
    """Return the preset `name`. Raises KeyError for an unknown name."""
    return {
        "seed": Profile(
            users=_seed_users(),
            mode="http10",
            options=("--backlog", "10"),
            model_options={"preforked": ("--workers", "100"), "prethreaded": ("--threads", "100")},
            redis=True,
        ),
        "computes": Profile(
            users=(20, 1000),
            mode="close",
            options=(),
            app="guestbook",
            title="A page that computes",
            does="a small one, which counts the visit in SQLite and fills a template",
            short="Computes",
        ),
        "waits": Profile(
            users=(10, 100),
            mode="keep-alive",
            options=(),
            app="wait",
            title="A page that waits 20 ms for a backend",
            does="it sleeps for that time, in place of a database or another service",
            short="Waits",
        ),
        "modern": Profile(users=(20, 100, 500, 1000), mode="keep-alive", options=("--backlog", "4096")),
    }[name]


TWO_PAGES = "two-pages"
NAMES = ("seed", "modern", TWO_PAGES)
PAGES = ("waits", "computes")
"""The presets that `--profile two-pages` measures, in this order. "waits" is first because it takes less time: the
requests per second of process models differ a hundredfold there.
"""
