"""Gunther's Universal Scalability Law, fitted to throughput over a number of workers or threads.

    X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1))

X is the throughput of N workers; lambda that of one worker alone. sigma is the share of the work for which workers
queue (a lock, the GIL, a CPU, the backend), kappa the cost of each pair of workers (N. J. Gunther, "A General Theory of
Computational Scalability Based on Rational Functions", arXiv:0808.1431). N / X is a polynomial in N, linear in three
numbers that must not be negative. So the fit is least squares, weighted so that relative errors count alike; it is made
once for each set of the numbers that may be zero, and the best is taken. No iteration, no start value.

The law is smooth. It does not explain a cliff, where one more worker costs a quarter of all throughput: points from a
cliff on are left out of the fit and named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

POINTS_MIN = 4
"""Least number of points for a fit: one more than the law has parameters. With fewer, there would be no error by which
to judge the fit.
"""
CLIFF = 0.75
"""Throughput falls off a cliff where it is below this share of the throughput at the next smaller number of workers;
see `cliff_of`.
"""
TRUST_MAX = 0.10
"""The law may be used beyond the points that it is fitted to if its relative error (root mean square) is at most this
(0.10: 10 %).
"""

Point = tuple[float, float]  # number, throughput


@dataclass(frozen=True, slots=True)
class Usl:
    """The Universal Scalability Law (see the module), fitted to throughput over a number of workers or threads."""

    rate: float
    """lambda: the throughput of one worker, in the unit of the points."""
    sigma: float
    """The share of the work for which workers queue; see the module."""
    kappa: float
    """The weight of the cost that grows with the number of pairs of workers, N (N - 1); see the module."""
    error: float
    """Root mean square of the relative differences between the law and the points (0.1: 10 %)."""
    points: int
    """Number of points that were fitted."""
    cliff: float | None = None
    """The smallest number of workers at which throughput has dropped more than the law can explain; it and all larger
    ones are not fitted. None: there is none.
    """

    def at(self, number: float) -> float:
        """Return the throughput of `number` workers by this law."""
        return self.rate * number / (1 + self.sigma * (number - 1) + self.kappa * number * (number - 1))

    @property
    def peak(self) -> float | None:
        """The number of workers with the highest throughput; None: more workers never lower it."""
        return max(1.0, ((1 - self.sigma) / self.kappa) ** 0.5) if self.kappa > 0 and self.sigma < 1 else None

    @property
    def ceiling(self) -> float | None:
        """The throughput that no number of workers exceeds; None: there is no limit."""
        if self.peak is not None:
            return self.at(self.peak)
        return self.rate / self.sigma if self.sigma > 0 else None

    @property
    def trustworthy(self) -> bool:
        """True if the law fits well enough to be used for larger numbers than were measured."""
        return self.error <= TRUST_MAX


def fit(points: Sequence[Point]) -> Usl | None:
    """Return the law that fits the points below the first cliff (a sudden drop of throughput, see `cliff_of`). None if
    these points are fewer than POINTS_MIN, or if there is no throughput or no valid fit.
    """
    cliff = cliff_of(points)
    law = _through([(n, x) for n, x in sorted(points) if cliff is None or n < cliff])
    return law and replace(law, cliff=cliff)


def cliff_of(points: Sequence[Point]) -> float | None:
    """Return the smallest number at which throughput drops below CLIFF times that at the next smaller number, and also
    below CLIFF times what the law through the points before it predicts. None: there is no such cliff.

    So a drop that the law itself predicts is no cliff.
    """
    ordered = sorted(points)
    for index in range(1, len(ordered)):
        (_, before), (number, rate) = ordered[index - 1 : index + 1]
        if rate < CLIFF * before:
            law = _through(ordered[:index])
            if law is None or rate < CLIFF * law.at(number):
                return number
    return None


def _through(points: Sequence[Point]) -> Usl | None:
    used = [(n, x) for n, x in points if x > 0]
    if len({n for n, _ in used}) < POINTS_MIN:
        return None
    best: Usl | None = None
    for size in (1, 2, 3):
        for columns in combinations(range(3), size):
            weights = _solved(used, columns)
            law = _law(weights, len(used)) if weights is not None else None
            if law is not None:
                law = replace(law, error=_error(used, law))
                if best is None or law.error < best.error - 1e-12:
                    best = law
    return best


def _terms(n: float) -> tuple[float, float, float]:
    """Return the factors of a, b and c in N / X = a + b (N - 1) + c N (N - 1) for N = n. There a = 1 / lambda, b =
    sigma a, c = kappa a.
    """
    return 1.0, n - 1, n * (n - 1)


def _solved(points: Sequence[Point], columns: tuple[int, ...]) -> tuple[float, float, float] | None:
    """Return the coefficients a, b and c (see `_terms`) that fit the points best, by least squares of relative errors.
    A coefficient whose index (0 to 2) is not in `columns` is held at 0. None if there is no solution, or if a
    coefficient would be negative.
    """
    rows = [[_terms(n)[column] * x / n for column in columns] for n, x in points]  # all divided by N / X: targets are 1
    size = len(columns)
    matrix = [[sum(row[i] * row[j] for row in rows) for j in range(size)] for i in range(size)]
    found = _gauss(matrix, [sum(row[i] for row in rows) for i in range(size)])
    if found is None or any(value < 0 for value in found):
        return None
    weights = dict(zip(columns, found, strict=True))
    return weights.get(0, 0.0), weights.get(1, 0.0), weights.get(2, 0.0)


def _gauss(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Return the x for which `matrix` times x is `right`, by Gaussian elimination with pivots; None for a singular
    matrix.
    """
    size = len(right)
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda index: abs(rows[index][column]))
        if abs(rows[pivot][column]) < 1e-12:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for index in range(size):
            if index != column and (factor := rows[index][column]):
                rows[index] = [a - factor * b for a, b in zip(rows[index], rows[column], strict=True)]
    return [row[-1] for row in rows]


def _law(weights: tuple[float, float, float], points: int) -> Usl | None:
    """Return the law that has the coefficients a, b and c (see `_terms`), which are given in `weights`. None if a is 0,
    because the throughput of a single worker would be infinite. `points`: how many points were fitted.
    """
    a, b, c = weights
    return Usl(1 / a, b / a, c / a, error=0.0, points=points) if a > 0 else None


def _error(points: Sequence[Point], law: Usl) -> float:
    return math.sqrt(sum((law.at(n) / x - 1) ** 2 for n, x in points) / len(points))
