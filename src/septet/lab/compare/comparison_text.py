"""A comparison as a table for the terminal, as Markdown for a pull request, and as JSON for programs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from septet.lab.compare.comparison import (
    BETTER,
    NO_DIFFERENCE,
    NOT_JUDGED,
    WITHOUT_FIGURES,
    WORSE,
    Change,
    ComparedRow,
    Comparison,
    Key,
)
from septet.lab.results import Results
from septet.lab.statistics import REPEATS_MAX
from septet.lab.tables import aligned

NO_FIGURE = "-"


def heading(a: Results, b: Results) -> str:
    return f"A: {_about(a)}; B: {_about(b)}"


def _about(results: Results) -> str:
    return f"septet {results['septet']}, {results['started'][:16].replace('T', ' ')}, {len(results['runs'])} runs"


def text(found: Comparison, head: str, differences: Sequence[str]) -> str:
    """Return the comparison as text for a terminal. `head` says what A and B are (see `heading`), `differences` what
    differs between their machines and experiments.
    """
    return "\n\n".join([head, *([_differ(differences)] if differences else []), *blocks(found)])


def blocks(found: Comparison) -> list[str]:
    """Return the parts of the text for a terminal: the table, and then each sentence about it."""
    return [aligned(_table(found)), *sentences(found)]


def markdown(found: Comparison, head: str, differences: Sequence[str]) -> str:
    """Return the comparison as Markdown, for a pull request. `head` says what A and B are, `differences` what differs
    between their machines and experiments.
    """
    titles, *lines = _table(found)
    rows = [titles, ["---", *["--:"] * (len(titles) - 1)], *lines]
    table = "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)
    blocks = [_escaped(head), *([_escaped(_differ(differences))] if differences else []), table]
    return "\n\n".join([*blocks, "\n".join(f"- {_escaped(sentence)}" for sentence in sentences(found))])


def as_json(found: Comparison, head: str, differences: Sequence[str]) -> str:
    return json.dumps(
        {
            "compared": head,
            "differences": list(differences),
            "tolerance": found.tolerance,
            "rows": [_plain(row) for row in found.rows],
            "only_a": found.only_a,
            "only_b": found.only_b,
            "judged": found.judged,
        },
        indent=1,
    )


def _plain(row: ComparedRow) -> dict[str, Any]:
    changes = {
        name: {**change.ratio._asdict(), "outcome": change.outcome, "repeats": change.repeats}
        for name, change in row.changes.items()
    }
    place = {"label": row.label, "users": row.users, "verdicts": row.verdicts, "reason": row.reason}
    return {**place, "outcome": row.outcome, "changes": changes}


def _table(found: Comparison) -> list[list[str]]:
    rows = ([_place(row), *_figures(row, found.metrics), _verdicts(row)] for row in found.rows)
    return [["B / A", *found.metrics, "verdicts"], *rows]


def _place(row: ComparedRow) -> str:
    return f"{row.label}, {'all' if row.users is None else format(row.users, ',')} users"


def _figures(row: ComparedRow, metrics: Sequence[str]) -> list[str]:
    return [_figure(row.changes[name]) if name in row.changes else NO_FIGURE for name in metrics]


def _figure(change: Change) -> str:
    """Return a change as text: the ratio, its interval in brackets, and "worse", "better" or "?" (not judged)."""
    value, low, high = change.ratio
    interval = "" if low is None or high is None else f" ({_times(low)}-{_times(high)})"
    word = {WORSE: " worse", BETTER: " better", NOT_JUDGED: " ?", NO_DIFFERENCE: ""}[change.outcome]
    return f"{_times(value)}{interval}{word}"


def _times(value: float) -> str:
    """Return a ratio as text with two decimals; "<0.01" if it is less than that, ">100" if it is 100 or more."""
    return "<0.01" if value < 0.01 else f"{value:.2f}" if value < 100 else ">100"


def _verdicts(row: ComparedRow) -> str:
    before, after = row.verdicts
    return "" if before == after == "valid" else before if before == after else f"{before}, {after}"


def sentences(found: Comparison) -> list[str]:
    """Return sentences about the table, without a full stop: what got worse, what got better, which cells only A or
    only B has, what could not be judged, and how many figures were judged.
    """
    said = [_change(row, metric, WORSE) for row, metric in found.with_outcome(WORSE)]
    said += [_change(row, metric, BETTER) for row, metric in found.with_outcome(BETTER)]
    said += [_only(name, cells) for name, cells in (("A", found.only_a), ("B", found.only_b)) if cells]
    return [*said, *_left_out(found), *_visible(found), _level(found)]


def _change(row: ComparedRow, metric: str | None, outcome: str) -> str:
    if metric is None:
        before, after = row.verdicts
        return f"{outcome}: {_place(row)}: was {before}, is {after}: {row.reason}"
    return f"{outcome}: {_place(row)}: {metric} is {_times(row.changes[metric].ratio.value)} times what it was"


def _only(name: str, cells: Sequence[Key]) -> str:
    users: dict[str, list[str]] = {}
    for label, number in cells:
        users.setdefault(label, []).append(f"{number:,}")
    return f"only in {name}: " + "; ".join(f"{label} at {', '.join(numbers)} users" for label, numbers in users.items())


def _left_out(found: Comparison) -> list[str]:
    """Return sentences that say how many cells are shown but not judged, and why: one sentence for each reason."""
    counts: Counter[str] = Counter()
    for row in found.rows:
        doubted = [verdict for verdict in row.verdicts if verdict != "valid"]
        judged = any(change.outcome != NOT_JUDGED for change in row.changes.values())
        if row.users is None or judged or row.outcome is not None:
            continue
        counts[_excuse(doubted)] += 1
    return [f"not judged (?): {'1 cell' if count == 1 else f'{count} cells'} {why}" for why, count in counts.items()]


def _excuse(doubted: Sequence[str]) -> str:
    if not doubted:
        return "that ran only once on one side, which tells nothing of noise: take --repeats"
    if WITHOUT_FIGURES.issuperset(doubted):
        return "that failed on both sides"
    return f"of which one side is {doubted[-1]}"


def _visible(found: Comparison) -> list[str]:
    """Return a sentence for each metric whose runs were too few: in a typical (median) cell they could not have shown a
    change as small as the tolerance. It says which change they could have shown, and how many repeats would show the
    tolerance.
    """
    said = []
    for name in found.metrics:
        changes = [row.changes[name] for row in found.rows if name in row.changes]
        known = [(change.visible, change.repeats) for change in changes if change.repeats is not None]
        usual = median(visible for visible, _ in known if visible is not None) if known else 0.0
        if usual > found.tolerance:
            repeats = math.ceil(median(number for _, number in known if number is not None))
            often = f"about {repeats} repeats" if repeats < REPEATS_MAX else f"more than {REPEATS_MAX:,} repeats"
            said.append(
                f"{name}: a change of less than {usual:.0%} in one cell could not have been seen (half of the cells: "
                f"more); to see {found.tolerance:.0%} takes {often} of each side"
            )
    return said


def _level(found: Comparison) -> str:
    if not found.judged:
        return "nothing could be judged"
    return (
        f"{found.judged} figures judged; worse or better: by more than {found.tolerance:.0%}, and beyond an interval "
        "that all of them together keep in 95 of 100 comparisons"
    )


def _differ(differences: Sequence[str]) -> str:
    return "A and B are not from the same machine or experiment: " + "; ".join(differences)


def _cell(value: str) -> str:
    """Return a cell of the Markdown table, with the word "worse" or "better" at its end in bold."""
    for word in (WORSE, BETTER):
        if value.endswith(f" {word}"):
            return f"{value.removesuffix(word)}**{word}**"
    return _escaped(value)


def _escaped(value: str) -> str:
    """Escape Markdown: labels and reasons come from files and applications."""
    for character in "\\`*_<>|[]":
        value = value.replace(character, "\\" + character)
    return " ".join(value.split())
