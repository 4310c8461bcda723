"""The pictures of a trace, when there are some beside the results, for the page."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septet.lab.report.pictures import Table
from septet.lab.trace import captions
from septet.lab.trace.files import DIRECTORY, FIGURES, OVERVIEW, ZOOM

PICTURES = {ZOOM: "some milliseconds, as they were", OVERVIEW: "all that was recorded, in columns"}


@dataclass(frozen=True, slots=True)
class TracePicture:
    """`source` is the picture itself, as a data: URL. As an image of its own it can bring nothing into the page."""

    shows: str
    source: str


@dataclass(frozen=True, slots=True)
class Traces:
    """What `septet trace` has left."""

    pictures: Sequence[TracePicture]
    remarks: Sequence[str]
    table: Table


def read(directory: Path) -> Traces | None:
    """What is in `directory`/trace; None without a trace, or when it cannot be read."""
    place = directory / DIRECTORY
    try:
        told = json.loads((place / FIGURES).read_text())
        pictures = [
            TracePicture(f"Threads and users as rows over time: {words}", _source(place / f"{name}.svg"))
            for name, words in PICTURES.items()
        ]
        return Traces(pictures, _remarks(told), _table(told))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _source(path: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


def _remarks(told: dict[str, Any]) -> list[str]:
    """Which of the three ways it was, for each model where they differ."""
    said: dict[str, list[str]] = {}
    for each in told["models"]:
        said.setdefault(captions.WAYS[each["way"]], []).append(each["model"])
    ways = [f"{', '.join(models)}: {way}." if len(said) > 1 else f"{way}." for way, models in said.items()]
    lost = sum(each["lost"] for each in told["models"])
    return [
        "Recorded separately, after all figures were taken: whoever records takes CPU time.",
        *ways,
        *([f"{lost:,} records were lost."] if lost else []),
    ]


def _table(told: dict[str, Any]) -> Table:
    """The shares of all models, under every heading that any of them has."""
    shares = [share for each in told["models"] for share in each["shares"]]
    heads = list(dict.fromkeys(head for share in shares for head in share))
    return [heads, *([share.get(head, "") for head in heads] for share in shares)]
