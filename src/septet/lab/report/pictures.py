"""A picture before it is drawn: what it is called, what it says to whoever cannot see it, its table, how to draw it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from septet.lab.report.drawing import Form, Specification

Table = Sequence[Sequence[str]]
"""Lines of cells, the first of which has the headings; the first cell of each is a name."""


@dataclass(frozen=True, slots=True)
class Picture:
    """`name` is that of its files, `short` what a choice between pictures of one section calls it."""

    name: str
    short: str
    title: str
    shows: str
    draw: Callable[[Form], Specification]


@dataclass(frozen=True, slots=True)
class Section:
    """Pictures of one subject, of which the page shows one at a time, and the table of all that is in them."""

    title: str
    remark: str
    pictures: Sequence[Picture]
    table: Table
