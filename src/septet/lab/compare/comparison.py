"""Compares results B with results A, cell by cell: a pure function of the two.

A cell is one contender (a server or model) in one setting, at one number of users. It is judged when the verdicts of
its runs say in both results that its figures are reliable. Each line of the chart (a contender in one setting) is
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
"""Verdicts on a cell (one server or model at one number of users) that count as failed. A cell that failed in B alone
got worse, and one that failed in A alone got better, whatever its figures say.
"""

Key = tuple[str, int]
"""The key of a cell: its label (a contender in one setting) and its number of users."""
Series = tuple[float, ...]
"""The values of one metric in the runs of a cell, one for each run."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How much the values of a metric differ between two sittings although nothing has changed: standard deviations, as
    shares of the value (0.05: 5 %).

    A sitting is the minutes or hours in which one result is measured. The machine is in one state meanwhile, so the
    repeats within one sitting do not show this spread.
    """

    valid: float
    """The spread for a row of the comparison whose cells all have the verdict "valid", in A and in B: nothing disturbed
    their runs.
    """
    disturbed: float
    """The spread for a row of the comparison that compares at least one cell whose verdict is not "valid" in A or in B,
    because something disturbed its runs.
    """


@dataclass(frozen=True, slots=True)
class Change:
    """How one metric changed: the ratio of its value in B to that in A, and whether this is worse or better."""

    ratio: Ratio
    outcome: str
    """WORSE, BETTER, NO_DIFFERENCE or NOT_JUDGED."""
    repeats: int | None = None
    """Number of runs of a cell that A and B would each need to show a change as large as the tolerance; None where it
    is not computed.
    """

    @property
    def visible(self) -> float | None:
        """The smallest change that these runs could have shown, as a share (0.05: 5 %); None without an interval."""
        return None if self.ratio.high is None else self.ratio.high / self.ratio.value - 1


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """A row of the comparison: one cell; or, with `users` None, all judged cells with one label (a contender in one
    setting).
    """

    label: str
    users: int | None
    verdicts: tuple[str, str] = ("valid", "valid")
    reason: str | None = None
    """Why the cell was not "valid". It is the reason of the verdict in B if a cell with that verdict is not judged,
    else the reason of the verdict in A; None where there is none.
    """
    changes: dict[str, Change] = field(default_factory=dict)
    """The change of each metric, by its key in `metrics.COMPARED`, without metrics that are not known in
    both results.
    """

    @property
    def outcome(self) -> str | None:
        """WORSE when the cell failed, or had errors, in B and not in A; BETTER when it did so in A and not in B; else
        None.
        """
        failed = [verdict in WITHOUT_FIGURES for verdict in self.verdicts]
        return {(False, True): WORSE, (True, False): BETTER}.get((failed[0], failed[1]))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of a comparison: all rows, in which the labels come in the order that they have in A, and the cells
    that only A (`only_a`) or only B has.
    """

    rows: list[ComparedRow]
    metrics: tuple[str, ...]
    tolerance: float
    only_a: list[Key]
    only_b: list[Key]

    @property
    def judged(self) -> int:
        """The number of changes (of one metric in one row) that were judged."""
        return sum(change.outcome != NOT_JUDGED for row in self.rows for change in row.changes.values())

    def with_outcome(self, outcome: str) -> Iterable[tuple[ComparedRow, str | None]]:
        """Yield each row and metric whose change has this outcome. A cell that failed in A or B alone has an outcome as
        a whole; for it the metric is None.
        """
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
    """Compare two results by these metrics, which are keys of COMPARED.

    A metric got worse, or better, when the interval of its ratio B/A excludes 1 and the ratio differs from 1 by more
    than `tolerance` (0.05: 5 %). A cell is judged when its verdicts in both results are among `believed`. `together` is
    the probability that all intervals hold at once. `spreads` says for some metrics how much results differ although
    nothing has changed, only because they were measured at different times; their intervals become wider by it.
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
    """One cell of one result: its summary and its runs."""

    summary: Summary
    records: list[dict[str, Any]]
    """Records of those runs of the cell that have figures."""

    def series(self, metric: str) -> Series | None:
        """Return the value of the metric in each run, in the order of the runs. None if there is no run, or if the
        value of a run is not known or is 0, because no ratio can be computed then.
        """
        figure = COMPARED[metric].figure
        assert figure is not None, "metrics that are compared are summed up"
        values = [figure(record) for record in self.records]
        known = tuple(float(value) for value in values if value)
        return known if known and len(known) == len(values) else None


def _cells(results: Results) -> dict[Key, _Cell]:
    """Return the cells of one result by their keys, in the order of the tables."""
    records: dict[Key, list[dict[str, Any]]] = {}
    for record in results["runs"]:
        if record["verdict"] != "failed":
            cell = run_of(record).cell
            records.setdefault((_label(cell), cell.users), []).append(record)
    found = ((_label(summary.cell), summary) for summary in summaries(results))
    return {(label, each.users): _Cell(each, records.get((label, each.users), [])) for label, each in found}


def _label(cell: Any) -> str:
    """Return the label of a cell. It names the varied options in alphabetical order, so that a cell has the same label
    in both results.
    """
    return str(replace(cell, setting=tuple(sorted(cell.setting))).label)


def _order(keys: list[Key]) -> Callable[[Key], tuple[int, int]]:
    places = {label: place for place, label in enumerate(dict.fromkeys(label for label, _ in keys))}
    return lambda key: (places[key[0]], key[1])


@dataclass(frozen=True, slots=True)
class _Plan:
    """A row before its changes are computed: the confidence level of its intervals depends on how many figures are
    judged in all rows.
    """

    empty: ComparedRow
    pairs: list[tuple[_Cell, _Cell]]
    believed: bool

    def judged(self, metric: str) -> bool:
        """True if the metric is judged in this row: the verdicts on the cells are among those that are believed, and A
        and B each have values from several runs, without which there is no interval.
        """
        known = self.series(metric)
        return self.believed and bool(known) and all(len(each) > 1 for pair in known for each in pair)

    def series(self, metric: str) -> list[tuple[Series, Series]]:
        both = ((a.series(metric), b.series(metric)) for a, b in self.pairs)
        return [(before, after) for before, after in both if before and after]

    def common(self, spread: Spread | None) -> float:
        """Return the variance of the ratio's logarithm that comes from measuring A and B at different times, which
        repeats do not show. It is twice that of `spread`, since A and B each have it; 0 if `spread` is None.
        """
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
    """Return the rows of the comparison for one `label`: one for each cell, i.e. number of users, and one over all
    judged cells if there are several.

    `pairs` are the cells that both results have, as (cell of A, cell of B). A cell is judged if both verdicts are in
    `believed`.
    """
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
