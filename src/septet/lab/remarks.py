"""What must be said beside the figures: which cells are not valid, and why.

The same sentences stand under the tables and under the chart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from septet.lab.results import Results
from septet.lab.summary import Summary, summaries

IN_DOUBT = ("errors", "client-limited", "noisy")


def remarks(results: Results, doubt_mark: str) -> list[str]:
    """Sentences without a full stop, the most serious first; cells with one reason together.

    `doubt_mark` says how a figure that is not valid is marked where the sentences will stand.
    """
    cells = summaries(results)
    sentences = _grouped(cells, "failed", "failed")
    for verdict in IN_DOUBT:
        sentences += _grouped(cells, verdict, f"({doubt_mark}: {verdict})")
    overflowed = [cell for cell in cells if (cell.median("queue_overflows") or 0) >= 1]
    if overflowed:
        sentences.append(
            "the listener's queue overflowed, and users waited a second or more to try again: " + _places(overflowed)
        )
    return sentences + _without(results["experiment"].get("lacking", {}))


def _without(lacking: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each set of swept options that would mean nothing to some models."""
    models: dict[str, list[str]] = {}
    for model, options in lacking.items():
        models.setdefault(enumerated([f"--{option}" for option in options]), []).append(model)
    return [
        f"{enumerated(names)}: measured once, without {options}, which would mean nothing there"
        for options, names in models.items()
    ]


def _places(cells: list[Summary]) -> str:
    labels: dict[str, list[Summary]] = {}
    for cell in cells:
        labels.setdefault(cell.label, []).append(cell)
    return "; ".join(f"{label} at {_users(group)}" for label, group in labels.items())


def _grouped(cells: list[Summary], verdict: str, words: str) -> list[str]:
    """A sentence for each reason and set of users, naming all the contenders that it befell."""
    befallen: dict[tuple[str, str], list[Summary]] = {}
    for cell in cells:
        if cell.verdict == verdict:
            befallen.setdefault((cell.label, cell.reason or ""), []).append(cell)
    labels: dict[tuple[str, str], list[str]] = {}
    for (label, reason), group in befallen.items():
        labels.setdefault((_users(group), reason), []).append(label)
    return [f"{enumerated(names)} at {users} {words}: {reason}" for (users, reason), names in labels.items()]


def _users(cells: list[Summary]) -> str:
    return enumerated([f"{cell.users:,}" for cell in cells]) + " users"


def enumerated(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
