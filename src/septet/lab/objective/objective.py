"""Parses an objective for a service, such as `p99<50ms,errors<0.1%`, and tells which of its conditions a run has
missed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from septet.errors import UsageError
from septet.lab.load import Histogram
from septet.lab.verdicts import ERROR_SHARE_MAX

ERRORS = "errors"
US_OF = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}
TERM = re.compile(
    r"(?P<figure>p\(?(?P<percent>[0-9]+(?:\.[0-9]+)?)\)?|mean|avg|med|max|errors)\s*(?P<sign><=?)\s*"
    r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>us|µs|ms|s|%|)"
)
SAME = {"avg": "mean", "med": "p50"}
"""Names that k6 has for figures, and the names of the same figures here."""
FORM = "such as p99<50ms,errors<0.1%, of p50 ... p99.99, mean, max and errors"
BEYOND_MIN = 10
"""A percentile is reliable if at least this many requests took longer than the percentile's value."""


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: a figure that must be below its limit."""

    figure: str
    """Which figure the condition limits: "p99" or another percentile, "mean", "max", or ERRORS."""
    limit: float
    """The limit in µs; for ERRORS as a share of all requests."""
    inclusive: bool = False
    """True if the figure may be equal to the limit."""

    @property
    def percent(self) -> float | None:
        return float(self.figure[1:]) if self.figure.startswith("p") else None

    @property
    def text(self) -> str:
        sign = "<=" if self.inclusive else "<"
        limit = f"{100 * self.limit:g}%" if self.figure == ERRORS else milliseconds(self.limit).replace(" ", "")
        return f"{self.figure}{sign}{limit}"

    def is_met(self, value: float) -> bool:
        return value <= self.limit if self.inclusive else value < self.limit


@dataclass(frozen=True, slots=True)
class Objective:
    """Conditions, such as p99<50ms, that the figures of a run must all meet. Requests that fail have no latency; they
    count as errors.
    """

    terms: tuple[Term, ...]

    @property
    def text(self) -> str:
        return ",".join(term.text for term in self.terms)

    @property
    def latency_terms(self) -> list[Term]:
        return [term for term in self.terms if term.figure != ERRORS]

    @property
    def least_us(self) -> float | None:
        """The lowest of the limits on latencies, in µs; None if the objective limits no latency."""
        return min((term.limit for term in self.latency_terms), default=None)

    @property
    def errors_max(self) -> float:
        """The largest share of requests that may fail."""
        return next(term.limit for term in self.terms if term.figure == ERRORS)

    @property
    def requests_needed(self) -> int:
        """The least number of requests for which a run can be trusted: at least BEYOND_MIN of them take longer than
        each percentile that the objective limits, and a single error does not decide.
        """
        beyond = [1 - term.percent / 100 for term in self.terms if term.percent is not None and term.percent < 100]
        errors = [term.limit for term in self.terms if term.figure == ERRORS and term.limit > 0]
        return max((round(x) for x in [*(BEYOND_MIN / share for share in beyond), *(1 / s for s in errors)]), default=0)

    def missed(self, load: Mapping[str, Any]) -> list[str]:
        """Return the conditions that the figures of a run have missed, each in a few words, such as "p99 61.2 ms"."""
        found = []
        for term in self.terms:
            value = figure(load, term.figure)
            if value is None:
                found.append("no answer")
            elif not term.is_met(value):
                found.append(f"{term.figure} {written(term.figure, value)}")
        return list(dict.fromkeys(found))


def read(text: str) -> Objective:
    """Parse an objective as the command line gives it. If it has no condition on errors, the condition errors<=0.1% is
    added.

    Raises UsageError for a text that is not an objective.
    """
    terms = []
    for part in text.split(","):
        found = TERM.fullmatch(part.strip())
        if found is None:
            raise UsageError(f"--slo: {part.strip()!r} is no condition {FORM}")
        terms.append(_term(found, part.strip()))
    if len({term.figure for term in terms}) < len(terms):
        raise UsageError(f"--slo: {text!r} names a figure twice")
    if all(term.figure != ERRORS for term in terms):
        terms.append(Term(ERRORS, ERROR_SHARE_MAX, inclusive=True))  # requests that fail would be in no figure else
    return Objective(tuple(terms))


def _term(found: re.Match[str], part: str) -> Term:
    number, unit, inclusive = float(found["number"]), found["unit"], found["sign"] == "<="
    if found["figure"] == ERRORS:
        if unit not in ("%", "") or (share := number / 100 if unit else number) > 1:
            raise UsageError(
                f"--slo: {part!r}: errors are a share of all requests, such as errors<0.1% or errors<0.001"
            )
        if share == 0 and not inclusive:
            raise UsageError(f"--slo: {part!r} cannot be met; errors<=0 allows none")
        return Term(ERRORS, share, inclusive)
    if unit not in US_OF:
        raise UsageError(f"--slo: {part!r} is a time, and needs a unit: us, ms or s, such as p99<50ms")
    if found["percent"] and not 0 < float(found["percent"]) <= 100:
        raise UsageError(f"--slo: {part!r}: a percentile is above 0 and at most 100")
    if not number:
        raise UsageError(f"--slo: {part!r} cannot be met")
    name = f"p{float(found['percent']):g}" if found["percent"] else SAME.get(found["figure"], found["figure"])
    return Term(name, number * US_OF[unit], inclusive)


def figure(load: Mapping[str, Any], name: str) -> float | None:
    """Return the figure of a run that has this name in an objective (as in `Term.figure`): latencies in µs, errors as a
    share of all requests. None if there was no answer.
    """
    if name == ERRORS:
        errors = sum(load["errors"].values()) + load["unanswered"]
        return errors / (errors + load["answers"]) if errors + load["answers"] else None
    known: Mapping[str, float | None] = load["latency_us"]
    if name in known:
        return known[name]
    histogram = Histogram()
    buckets = {int(lowest): count for lowest, count in load["histogram_us"].items()}
    histogram.merge(buckets, load["latency_us"]["max"] or 0, 0)
    return histogram.percentile(float(name[1:]))


def written(name: str, value: float) -> str:
    """Return the value of a figure as text with its unit; `name` is that of the figure, as in `Term.figure`."""
    return f"{100 * value:.2g}%" if name == ERRORS else milliseconds(value)


def milliseconds(us: float) -> str:
    """Return a time as text with three digits: in µs below 1 ms, in s from 1 s."""
    if us < 999.5:
        return f"{us:.3g} us"
    return f"{us / 1000:.3g} ms" if us < 999_500 else f"{us / 1e6:.3g} s"
