"""Compares results B with results A, cell by cell: a pure function of the two.

A cell is judged when its figures may be believed on both sides. Each line of the chart (a contender in one setting) is
judged too, over all its judged numbers of users: a change of five percent everywhere may be lost in the noise of every
single cell, but not in that of all together.

Many figures are judged at once, and one in twenty 95 % intervals misses the true value. So all figures share that error
rate (Bonferroni): noise alone raises an alarm in at most 5 of 100 comparisons, however many cells there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from septet.lab.metrics import COMPARED
from septet.lab.results import Results, run_of
from septet.lab.statistics import LEVEL, Ratio, ratio, repeats_for
from septet.lab.summary import Summary, summaries

WORSE, BETTER, NO_DIFFERENCE, NOT_JUDGED = "worse", "better", "no difference", "not judged"
BELIEVED = frozenset({"valid"})
WITHOUT_FIGURES = frozenset({"errors", "failed"})
"""Verdicts of cells that count as failed: a change to one of them is worse, whatever the figures say."""

Key = tuple[str, int]
"""A cell: its label and its number of users."""
Series = tuple[float, ...]
"""One figure in each run of a cell."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How much a figure of the same thing differs from sitting to sitting: standard deviations, as shares of it.

    A sitting is the minute or the hour in which one result is measured. Its repeats share the state that the machine is
    in then, so that they do not show this spread.
    """

    valid: float
    """In cells whose verdict is valid."""
    disturbed: float
    """In others."""


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one figure: the ratio of B to A, and its judgement."""

    ratio: Ratio
    outcome: str
    """WORSE, BETTER, NO_DIFFERENCE or NOT_JUDGED."""
    repeats: int | None = None
    """Runs of each side that would be needed to show a change as large as the tolerance; None where not computed."""

    @property
    def visible(self) -> float | None:
        """The smallest change that these runs could have shown, as a share (0.05: 5 %); None without an interval."""
        return None if self.ratio.high is None else self.ratio.high / self.ratio.value - 1


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """A row of the comparison: a cell, or, with `users` None, all judged cells of a label together."""

    label: str
    users: int | None
    verdicts: tuple[str, str] = ("valid", "valid")
    reason: str | None = None
    """The reason of the worse of the two verdicts."""
    changes: dict[str, Change] = field(default_factory=dict)
    """The change of each metric, by its name in COMPARED; figures that are not known are left out."""

    @property
    def outcome(self) -> str | None:
        """WORSE when B failed or had errors and A did not, BETTER the other way round; else None."""
        failed = [verdict in WITHOUT_FIGURES for verdict in self.verdicts]
        return {(False, True): WORSE, (True, False): BETTER}.get((failed[0], failed[1]))


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows, ordered by label; and the cells that only one of the two has."""

    rows: list[ComparedRow]
    metrics: tuple[str, ...]
    tolerance: float
    only_a: list[Key]
    only_b: list[Key]

    @property
    def judged(self) -> int:
        """The number of figures that were judged."""
        return sum(change.outcome != NOT_JUDGED for row in self.rows for change in row.changes.values())

    def with_outcome(self, outcome: str) -> Iterable[tuple[ComparedRow, str | None]]:
        """Yield the rows and metrics with this outcome; the metric is None where it follows from the verdicts."""
        for row in self.rows:
            if row.outcome == outcome:
                yield row, None
            for name, change in row.changes.items():
                if change.outcome == outcome:
                    yield row, name


def compare(
    a: Results,
    b: Results,
    metrics: Sequence[str],
    tolerance: float,
    believed: frozenset[str] = BELIEVED,
    together: float = LEVEL,
    spreads: Mapping[str, Spread] = {},
) -> Comparison:
    """Compare the results by these metrics, which are names of COMPARED.

    A figure is worse, or better, when 1 is outside of the interval of its ratio, and it changed by more than
    `tolerance` (a share: 0.05 is 5 %). Cells are judged when both verdicts are among `believed`. All intervals hold
    at the same time in the share `together` of comparisons. `spreads` widens them, for some metrics, by how much
    sittings differ.
    """
    cells_a, cells_b = _cells(a), _cells(b)
    common = sorted(cells_a.keys() & cells_b.keys(), key=_order([*cells_a]))
    pairs = [(cells_a[key], cells_b[key]) for key in common]
    plans = [plan for label in dict.fromkeys(label for label, _ in common) for plan in _plans(label, pairs, believed)]
    level = 1 - (1 - together) / max(1, sum(plan.judged(name) for plan in plans for name in metrics))
    return Comparison(
        [plan.row(metrics, level, tolerance, spreads) for plan in plans],
        tuple(metrics),
        tolerance,
        [key for key in cells_a if key not in cells_b],
        [key for key in cells_b if key not in cells_a],
    )


@dataclass(frozen=True, slots=True)
class _Cell:
    """One cell of one of the two results."""

    summary: Summary
    records: list[dict[str, Any]]
    """Records of those runs of the cell that have figures."""

    def series(self, metric: str) -> Series | None:
        """Return the figure in each run; None if it is not known in a run, or 0, with which no ratio can be
        computed."""
        figure = COMPARED[metric].figure
        assert figure is not None, "metrics that are compared are summed up"
        values = [figure(record) for record in self.records]
        known = tuple(float(value) for value in values if value)
        return known if known and len(known) == len(values) else None


def _cells(results: Results) -> dict[Key, _Cell]:
    """Return the cells, in the order of the tables."""
    records: dict[Key, list[dict[str, Any]]] = {}
    for record in results["runs"]:
        if record["verdict"] != "failed":
            cell = run_of(record).cell
            records.setdefault((_label(cell), cell.users), []).append(record)
    found = ((_label(summary.cell), summary) for summary in summaries(results))
    return {(label, each.users): _Cell(each, records.get((label, each.users), [])) for label, each in found}


def _label(cell: Any) -> str:
    """Return the label of a cell with its swept options in alphabetical order."""
    return str(replace(cell, setting=tuple(sorted(cell.setting))).label)


def _order(keys: list[Key]) -> Callable[[Key], tuple[int, int]]:
    places = {label: place for place, label in enumerate(dict.fromkeys(label for label, _ in keys))}
    return lambda key: (places[key[0]], key[1])


@dataclass(frozen=True, slots=True)
class _Plan:
    """A row before it is computed, because its level depends on the number of rows."""

    empty: ComparedRow
    pairs: list[tuple[_Cell, _Cell]]
    believed: bool

    def judged(self, metric: str) -> bool:
        """True if the metric can be judged: known on both sides, and in more than one run, to have an interval."""
        known = self.series(metric)
        return self.believed and bool(known) and all(len(each) > 1 for pair in known for each in pair)

    def series(self, metric: str) -> list[tuple[Series, Series]]:
        both = ((a.series(metric), b.series(metric)) for a, b in self.pairs)
        return [(before, after) for before, after in both if before and after]

    def common(self, spread: Spread | None) -> float:
        """The variance of a ratio that repeats in one sitting do not show, once for each side."""
        if spread is None:
            return 0.0
        is_valid = all(each.summary.verdict == "valid" for pair in self.pairs for each in pair)
        return 2 * (spread.valid if is_valid else spread.disturbed) ** 2

    def row(self, metrics: Sequence[str], level: float, tolerance: float, spreads: Mapping[str, Spread]) -> ComparedRow:
        changes = {}
        for name in metrics:
            if known := self.series(name):
                befores, afters = zip(*known, strict=True)
                found = ratio(befores, afters, level, self.common(spreads.get(name)))
                outcome = _outcome(found, COMPARED[name].more_is_better, tolerance) if self.judged(name) else NOT_JUDGED
                fewest = min(len(each) for pair in known for each in pair)
                # Said of noisy cells as well, which are not judged: how many repeats they would take.
                single = self.empty.users is not None and fewest > 1
                repeats = repeats_for(tolerance, found, fewest, level) if single and tolerance else None
                changes[name] = Change(found, outcome, repeats)
        return replace(self.empty, changes=changes)


def _plans(label: str, pairs: list[tuple[_Cell, _Cell]], believed: frozenset[str]) -> list[_Plan]:
    """Return the rows of the comparison for one contender's `label`: one for each cell, i.e. number of users, and one
    over all judged cells if there are several. A cell is judged if the verdicts of both sides are in `believed`."""
    plans, may = [], []
    for a, b in pairs:
        if _label(a.summary.cell) == label:
            verdicts = (a.summary.verdict, b.summary.verdict)
            worse = a.summary if verdicts[1] in believed else b.summary
            judged = believed.issuperset(verdicts)
            may += [(a, b)] if judged else []
            plans.append(_Plan(ComparedRow(label, a.summary.users, verdicts, worse.reason), [(a, b)], judged))
    return [*plans, _Plan(ComparedRow(label, None), may, True)] if len(may) > 1 else plans


def _outcome(found: Ratio, more_is_better: bool, tolerance: float) -> str:
    if found.low is None or found.high is None or found.low <= 1 <= found.high or abs(found.value - 1) <= tolerance:
        return NO_DIFFERENCE
    return BETTER if (found.value > 1) is more_is_better else WORSE
