"""The schema of a results file: the keys and types that it must have, checked once, when it is read.

Files are edited by hand, cut off by full disks and written by other programs. An error names its place in the file;
without this check it would be a traceback from the code that draws the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any

from septet.lab.verdicts import VERDICTS
from septet.lab.where.parts import KEYS

Check = Callable[[Any], bool]
Shape = Mapping[str, Any]
"""What an object of results.json must contain: for each key a Check, which tests its value, or the Shape of an object
below it.
"""


def complaint(results: Any) -> str | None:
    """Return the first error in the results, with its place, such as "runs[3].load.answers is missing"; None without
    one."""
    return next(_complaints(results), None)


def _complaints(results: Any) -> Iterator[str]:
    yield from _unfit(results, RESULTS, "")
    if results.get("where") is not None:
        yield from _complaints_about_where(results["where"])
    for number, run in enumerate(results["runs"]):
        place = f"runs[{number}]"
        yield from _unfit(run, RUN, place)
        if run["verdict"] != "failed":
            yield from _unfit(run, MEASURED, place)


def _complaints_about_where(where: Any) -> Iterator[str]:
    """Yield the errors in `where`, the part of results.json that says where the time of requests goes; results of older
    versions do not have it.
    """
    yield from _unfit(where, WHERE, "where")
    for number, cell in enumerate(where["cells"]):
        place = f"where.cells[{number}]"
        yield from _unfit(cell, WHERE_CELL, place)
        if cell["failure"] is None:
            yield from _unfit(cell, WHERE_RECORDED, place)


def _unfit(value: Any, shape: Shape | Check, place: str) -> Iterator[str]:
    if not isinstance(shape, Mapping):
        if not shape(value):
            yield f"{place} is {_short(value)}"
        return
    if not isinstance(value, dict):
        yield f"{place or 'it'} is {_short(value)}"
        return
    for name, inner in shape.items():
        within = f"{place}.{name}" if place else name
        if name in value:
            yield from _unfit(value[name], inner, within)
        else:
            yield f"{within} is missing"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _is(*types: type) -> Check:
    return lambda value: isinstance(value, types)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _above_0(value: Any) -> bool:
    return _number(value) and value > 0


def _known_or_null(value: Any) -> bool:
    return value is None or _number(value)


def _numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_known_or_null, value.values()))


def _buckets(value: Any) -> bool:
    return _numbers(value) and all(lowest.isdecimal() for lowest in value)


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


RESULTS: Shape = {
    "septet": _is(str),
    "started": _is(str),
    "finished": _is(str, NoneType),
    "command": _texts,
    "resumed": _is(list),
    "machine": _is(dict),
    "experiment": {
        "app": _is(str),
        "path": _is(str),
        "mode": _is(str),
        "models": _texts,
        "others": _is(list, tuple),
        "users": lambda value: isinstance(value, list | tuple) and all(map(_above_0, value)),
        "repeats": _above_0,
        "duration_s": _number,
        "profile": _is(str, NoneType),
        "pinned": lambda value: isinstance(value, list | tuple) and len(value) == 2,
    },
    "runs": _is(list),
}
RUN: Shape = {
    "model": _is(str),
    "users": lambda value: isinstance(value, int) and _above_0(value),
    "setting": lambda value: isinstance(value, dict) and _texts([*value.values()]),
    "repeat": _is(int),
    "verdict": lambda value: isinstance(value, str) and value in VERDICTS,
    "reason": _is(str, NoneType),
}
MEASURED: Shape = {
    "load": {
        "requests_per_s": _above_0,
        "window_s": _above_0,
        "answers": _above_0,
        "errors": _numbers,
        "latency_us": lambda value: _numbers(value) and "max" in value,
        "histogram_us": _buckets,
        "warmup": {"answers": _number},
    },
    "usage": {"user_s": _number, "system_s": _number},
    "stop": {"life": {"complete": _is(bool), "voluntary_switches": _number, "involuntary_switches": _number}},
}
WHERE: Shape = {"cells": _is(list), "skipped": _is(str, NoneType)}
WHERE_CELL: Shape = {
    "model": _is(str),
    "users": RUN["users"],
    "setting": RUN["setting"],
    "failure": _is(str, NoneType),
}
WHERE_RECORDED: Shape = {
    "requests": _above_0,
    "latency_us": _above_0,
    "parts_us": dict.fromkeys(KEYS, _number),
}
