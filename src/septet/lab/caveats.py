"""Caveats about the figures: which cells (contenders at one number of users) have figures that are not valid, and why.

The sentences are shown under the tables and under the charts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from septet.lab.experiment import Cell
from septet.lab.results import Results
from septet.lab.summary import Summary

IN_DOUBT = ("errors", "client-limited", "noisy")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def caveats(results: Results, cells: Sequence[Summary], doubt_mark: str) -> list[str]:
    """Return the caveats as sentences without a full stop, the most serious first.

    Cells with the same reason share a sentence. `cells` are the summaries of the results; `doubt_mark` is what tables
    print after a figure that is not valid.
    """
    axis = sorted({cell.users for cell in cells})
    sentences = _grouped(cells, axis, "failed", "failed")
    for verdict in IN_DOUBT:
        sentences += _grouped(cells, axis, verdict, f"({doubt_mark}: {verdict})")
    overflowed = [cell for cell in cells if (cell.median("queue_overflows") or 0) >= 1]
    if overflowed:
        where = _places(overflowed, axis)
        sentences.append(f"the listener's queue overflowed, and users waited a second or more to try again: {where}")
    return sentences + _without(results["experiment"].get("lacking", {}))


def unrecorded(where: Mapping[str, Any]) -> list[str]:
    """Return sentences that say of which contenders there is no record of where the time of a request goes, and why.
    `where` is that entry of results.json.
    """
    axis = sorted({each["users"] for each in where["cells"]})
    users: dict[tuple[str, str], list[int]] = {}
    for each in where["cells"]:
        if each["failure"] is not None:
            label = Cell(each["model"], each["users"], tuple(each["setting"].items())).label
            users.setdefault((label, each["failure"].rstrip(".")), []).append(each["users"])
    labels: dict[tuple[str, str], list[str]] = {}
    for (label, reason), numbers in users.items():
        labels.setdefault((spans(numbers, axis), reason), []).append(label)
    said = [
        f"Where the time goes was not recorded for {enumerated(names)} at {numbers} users: {reason}."
        for (numbers, reason), names in labels.items()
    ]
    return [*said, *([where["skipped"]] if where["skipped"] is not None else [])]


def _without(lacking: Mapping[str, Sequence[str]]) -> list[str]:
    """Return sentences that name the models that do not take a varied option (--sweep); models that lack the same
    options share a sentence.
    """
    models: dict[str, list[str]] = {}
    for model, options in lacking.items():
        models.setdefault(enumerated([f"--{option}" for option in options]), []).append(model)
    return [
        f"{enumerated(names)}: measured once, without {options}, which would mean nothing there"
        for options, names in models.items()
    ]


def _places(cells: Sequence[Summary], axis: Sequence[int]) -> str:
    """Return text that names contenders and numbers of users of the cells, such as "poll and epoll at 500 users; ...".
    `axis`: all numbers of users that were measured.
    """
    labels: dict[str, list[Summary]] = {}
    for cell in cells:
        labels.setdefault(cell.label, []).append(cell)
    together: dict[str, list[str]] = {}
    for label, group in labels.items():
        together.setdefault(_users(group, axis), []).append(label)
    return "; ".join(f"{enumerated(names)} at {users}" for users, names in together.items())


def _grouped(cells: Sequence[Summary], axis: Sequence[int], verdict: str, words: str) -> list[str]:
    """Return sentences about the cells that have this verdict. Contenders with the same reason at the same numbers of
    users share a sentence. `axis`: all numbers of users that were measured; `words`: put after the numbers in each
    sentence.

    Reasons of one contender that differ only in their numbers count as one reason, but not the reasons of failures.
    """
    affected: dict[tuple[str, str], list[Summary]] = {}
    for cell in cells:
        if cell.verdict == verdict:
            reason = cell.reason or ""
            kind = reason if verdict == "failed" else NUMBER.sub("#", reason)
            affected.setdefault((cell.label, kind), []).append(cell)
    labels: dict[tuple[str, str], list[str]] = {}
    for (label, _), group in affected.items():
        told = _merged([cell.reason or "" for cell in group])
        labels.setdefault((_users(group, axis), told), []).append(label)
    return [f"{enumerated(names)} at {users} {words}: {reason}" for (users, reason), names in labels.items()]


def _merged(reasons: Sequence[str]) -> str:
    """Merge sentences that differ only in their numbers: each number becomes its range, such as "3 to 5"."""
    ranges = map(_range, zip(*map(NUMBER.findall, reasons), strict=True))
    return NUMBER.sub(lambda _: next(ranges), reasons[0])


def _range(numbers: Sequence[str]) -> str:
    low, *_, high = sorted([numbers[0], *numbers], key=lambda text: float(text.replace(",", "")))
    return low if low == high else f"{low} to {high}"


def _users(cells: Sequence[Summary], axis: Sequence[int]) -> str:
    return f"{spans([cell.users for cell in cells], axis)} users"


def spans(users: Sequence[int], axis: Sequence[int]) -> str:
    """Return the numbers in `users` as text. `axis`: all numbers of users that were measured, in order; three or more
    numbers that are neighbours there are written as a range, such as "20 to 500".
    """
    places = sorted(axis.index(number) for number in set(users))
    words: list[str] = []
    for _, run in groupby(enumerate(places), lambda pair: pair[1] - pair[0]):
        numbers = [f"{axis[place]:,}" for _, place in run]
        words += numbers if len(numbers) < 3 else [f"{numbers[0]} to {numbers[-1]}"]
    return enumerated(words)


def enumerated(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
