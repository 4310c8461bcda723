"""What must be said beside the figures: which cells failed or had errors and why, and where the client was the limit.

The same sentences stand under the tables and under the chart.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from septet.lab.results import Results

FOREIGN_SHARE_MAX = 0.25  # of all CPUs; the kernel's own work for the load, which nobody is charged for, stays below
CLIENT_SHARE_MAX = 0.85  # of one CPU; a closed loop whose client is this busy measures the client


def remarks(results: Results, doubt_mark: str) -> list[str]:
    """Sentences without a full stop, the most serious first; cells with one reason together.

    `doubt_mark` says how a figure that is not valid is marked where the sentences will stand.
    """
    cells = results["cells"]
    sentences = [*_grouped(cells, "failed", "failed")]
    for verdict in ("errors", "unserved"):
        sentences += _grouped(cells, verdict, f"({doubt_mark})")
    limited = [cell for cell in cells if _client_share(cell) > CLIENT_SHARE_MAX]
    if limited:
        where = "; ".join(
            f"{model} at {_users(list(group))}" for model, group in groupby(sorted(limited, key=_model), key=_model)
        )
        sentences.append(
            f"the load generator used more than {CLIENT_SHARE_MAX:.0%} of a CPU and may be the limit: {where}"
        )
    foreign = max((_foreign_share(cell, results["machine"]["cpus"]) for cell in cells), default=0.0)
    if foreign > FOREIGN_SHARE_MAX:
        sentences.append(
            f"other programs used up to {foreign:.0%} of the CPUs meanwhile: repeat this when nothing else runs"
        )
    return sentences


def _foreign_share(cell: dict[str, Any], cpus: int) -> float:
    """The share of all CPUs that went to neither the server nor the load generator."""
    usage, window_s = cell.get("usage"), cell.get("load", {}).get("window_s")
    if not usage or not window_s:
        return 0.0
    ours_s = usage["user_s"] + usage["system_s"] + _client_share(cell) * window_s
    return float((usage["machine_busy_s"] - ours_s) / (window_s * cpus))


def _grouped(cells: list[dict[str, Any]], verdict: str, words: str) -> list[str]:
    """A sentence for each reason and set of users, naming all the models that it befell."""
    befallen: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        if cell["verdict"] == verdict:
            befallen.setdefault((cell["model"], cell["reason"]), []).append(cell)
    models: dict[tuple[str, str], list[str]] = {}
    for (model, reason), group in befallen.items():
        models.setdefault((_users(group), reason), []).append(model)
    return [f"{_enumerated(names)} at {users} {words}: {reason}" for (users, reason), names in models.items()]


def _users(cells: list[dict[str, Any]]) -> str:
    return _enumerated([f"{cell['users']:,}" for cell in cells]) + " users"


def _enumerated(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _client_share(cell: dict[str, Any]) -> float:
    return float(cell["load"]["client"]["cpu_share"]) if "load" in cell else 0.0


def _model(cell: dict[str, Any]) -> str:
    return str(cell["model"])
