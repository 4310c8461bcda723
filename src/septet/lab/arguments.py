"""Types and checks of command-line arguments that several verbs take.

All functions raise UsageError for wrong values.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from septet.errors import UsageError
from septet.lab import load as generator
from septet.lab.load import ANY_LENGTH, LoadError


class Finite(click.FloatRange):
    """The type of an option whose value is a number in a range, without NaN and infinity, which click would accept."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        number = float(super().convert(value, parameter, context))
        return number if math.isfinite(number) else self.fail(f"{value} is not a finite number.", parameter, context)


POSITIVE = Finite(min=0, min_open=True)
NOT_NEGATIVE = Finite(min=0)
COUNT = click.IntRange(min=1)
FILE = click.Path(dir_okay=False, path_type=Path)
FILE_OR_DIRECTORY = click.Path(exists=True, path_type=Path)
PERCENT = click.FloatRange(0, 100)
DIRECTORY = click.Path(file_okay=False, path_type=Path)
SECONDS_OF = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
BYTES_OF = {"B": 1, "KB": 1000, "KIB": 1024, "MB": 1_000_000, "MIB": 1 << 20}
OURS = ("model", "bind")
"""Options of `septet serve` that the laboratory sets itself, so that the user must not set them by --serve-option."""


class Span(Finite):
    """A duration, such as 90, 50ms, 90s, 4m20s or 1h, converted to seconds; a number without a unit is in seconds."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        text = str(value).strip()
        with_unit = text if text[-1:].isalpha() else f"{text}s"
        parts = re.findall(rf"([0-9.]+)({'|'.join(SECONDS_OF)})", with_unit)
        try:
            if not parts or "".join(number + unit for number, unit in parts) != with_unit:
                raise ValueError(text)
            return super().convert(sum(float(number) * SECONDS_OF[unit] for number, unit in parts), parameter, context)
        except (click.BadParameter, ValueError):
            above = "" if self.min is not None and not self.min_open else " above 0"
            self.fail(f"{text!r} is not a time{above}, such as 50ms, 90s or 4m20s.", parameter, context)


class BytesPerSecond(click.ParamType[int]):
    """A rate, such as 500, 1KiB/s or 2MB/s, converted to bytes per second."""

    name = "bytes/s"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        text = str(value).strip()
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(B|[KkM]i?B)?(/s)?", text)
        rate = int(float(found[1]) * BYTES_OF[(found[2] or "B").upper()]) if found else 0
        return rate or self.fail(f"{text!r} is not a rate of at least 1 B/s, such as 1KiB/s.", parameter, context)


SPAN = Span(min=0, min_open=True)
SPAN_OR_0 = Span(min=0)
BYTES_PER_SECOND = BytesPerSecond()


def path(text: str | None, default: str) -> str:
    """Check --path, which must begin with /, and return it; `default` when the option was not given."""
    if text is not None and not text.startswith("/"):
        raise UsageError(f"--path: {text!r} does not begin with /")
    return text or default


def scenario(file: Path | None) -> Path | None:
    """Check the content of the --scenario file and return its absolute path; None when the option was not given."""
    if file is None:
        return None
    try:
        generator.read_scenario(file)
    except LoadError as error:
        raise UsageError(str(error)) from None
    return file.absolute()


def serve_options(texts: tuple[str, ...], ours: tuple[str, ...] = OURS) -> tuple[str, ...]:
    """Split the values of --serve-option (`texts`) into words as a shell does. Raises UsageError if one of the words is
    an option of which `ours` has the name, because the measurement sets that option itself.
    """
    try:
        words = tuple(word for text in texts for word in shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--serve-option: {' '.join(texts)!r} is not what a shell would accept: {error}") from None
    for name in ours:
        if any(word == f"--{name}" or word.startswith(f"--{name}=") for word in words):
            raise UsageError(f"--serve-option: --{name} cannot be given: the measurement sets it")
    return words


def expect_length(text: str | None) -> int | None:
    """Parse --expect-length, the number of bytes that the body of a right answer has. Returns ANY_LENGTH for "any", and
    None when the option was not given.
    """
    if text is None:
        return None
    if text == "any":
        return ANY_LENGTH
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"--expect-length: {text!r} is neither a number of bytes nor 'any'")
    return int(text)


def check_unchanged(context: click.Context, why: str, allowed: Collection[str]) -> None:
    """Raise UsageError if the command line has options that must not be given because their values come from a file, as
    with --resume.

    Args:
        why: the beginning of the error's sentence.
        allowed: names of parameters that may be given all the same.
    """
    given = [
        "/".join(each.opts) if isinstance(each, click.Option) else each.human_readable_name
        for each in context.command.params
        if context.get_parameter_source(each.name or "") is ParameterSource.COMMANDLINE and each.name not in allowed
    ]
    if given:
        raise UsageError(f"{why}, so without {', '.join(given)}")


def cpus(text: str | None) -> tuple[int, ...]:
    """Parse --cpus: the numbers of the CPUs in the given order, without duplicates; empty when it was not given."""
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise UsageError(f"--cpus: {text!r} is not a list of whole numbers, such as 2,3")
    return tuple(dict.fromkeys(map(int, words)))


def sweep(text: str) -> tuple[str, tuple[str, ...]]:
    """Parse a value of --sweep: the name of the option, and the values to measure with."""
    name, _, values = text.removeprefix("--").partition("=")
    found = tuple(dict.fromkeys(value.strip() for value in values.split(",") if value.strip()))
    if not name.strip() or not found:
        raise UsageError(f"--sweep: {text!r} is not of the form workers=1,2,4")
    return name.strip(), found


def users(text: str, spec: str | None) -> tuple[int, ...]:
    """Parse --users of `bench`, and return the numbers in ascending order. `spec`: the value of --cluster. Raises
    UsageError if the text is no list of whole numbers above 0, or if this machine cannot simulate the largest number.
    With --cluster the workers check that for their machines, later.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isascii() and word.isdigit() and int(word) for word in words):
        raise UsageError(f"--users: {text!r} is not a list of whole numbers above 0, such as 20,100,500")
    found = tuple(sorted({int(word) for word in words}))
    try:
        generator.check_users(found[-1] if spec is None else 1)  # workers check their own machine
    except LoadError as error:
        raise UsageError(f"--users: {error}") from None
    return found
