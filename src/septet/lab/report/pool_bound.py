"""A sentence of the report about contenders that served as many requests as their pools of threads or processes can.

If a page waits, a pool of 8 threads serves 8 requests in the time of one, whatever the process model and the CPU. Then
the size of the pool is compared, and not the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from septet.lab import pool
from septet.lab.caveats import enumerated
from septet.lab.evening import page_computes
from septet.lab.metrics import RATE
from septet.lab.results import Results
from septet.lab.summary import Summary

NEAR = (0.85, 1.05)
"""A rate counts as that of a full pool if it is between these shares of the pool's size, divided by the time of an
answer.
"""


def pool_bound(results: Results, cells: Sequence[Summary]) -> str | None:
    """Return a sentence that names the contenders whose pool was full, and says what it can serve. None if the page
    computes, or if nothing was limited so. `cells` are the summaries of one number of users.
    """
    alone = results.get("alone") or {}
    if not alone or page_computes([], alone):
        return None
    answer_s, sizes = alone["least_us"] / 1e6, _sizes(results)
    full: dict[int, list[str]] = {}
    for cell in cells:
        size, found = sizes.get(cell.cell.model), RATE.estimate(cell.figures)
        if size and found is not None and size < cell.users and NEAR[0] <= found.median * answer_s / size <= NEAR[1]:
            full.setdefault(size, []).append(cell.label)
    if not full:
        return None
    most = max(full)
    named = [f"{enumerated(labels)} ({size} at a time)" for size, labels in sorted(full.items(), reverse=True)]
    return (
        f"At {cells[0].users:,} users the size of the pool was the limit of {enumerated(named)}: an answer takes "
        f"{1000 * answer_s:.3g} ms, so {most} at a time are {most / answer_s:,.0f} requests/s. With more of "
        "them (--threads, --workers) they serve more; that was not measured here."
    )


def _sizes(results: Results) -> Mapping[str, int]:
    """Return how many requests each contender with a pool answers at a time. Empty if options of the servers say it."""
    experiment: Mapping[str, Any] = results["experiment"]
    sizes = pool.by_default(len(experiment["pinned"][0]) or results["machine"].get("cpus_usable") or 1)
    if experiment.get("pool"):  # the same for all, other servers included
        same = pool.Pool(**experiment["pool"]).at_once
        return dict.fromkeys([*sizes, *(other["name"] for other in experiment["others"])], same)
    return sizes if experiment.get("pool_told") else {}
