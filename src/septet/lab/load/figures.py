"""The figures of a run, made from the raw counts of one process or of several."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .plan import Plan
from .tally import unpacked

Raw = dict[str, Any]


def figures(plan: Plan, raws: list[Raw]) -> dict[str, Any]:
    """What results files hold. Buckets are added, never percentiles; times in µs where the name says so, else s."""
    window_s = max(raw["window_s"] for raw in raws)
    latency = unpacked(*(target["latency"] for raw in raws for target in raw["targets"]))
    counts = _added(raws, "counts")
    return {
        "plan": plan.values(),
        "window_s": window_s,
        "answers": latency.count,
        "requests_per_s": sum(raw["completed"] / raw["window_s"] for raw in raws),
        "body_bytes": sum(raw["body_bytes"] for raw in raws),
        "errors": dict(_added(raws, "errors")),
        "reconnects": counts["reconnects"],
        "retries": counts["retries"],
        "latency_us": latency.summary(),
        "latency_total_us": latency.total_us,
        "histogram_us": latency.sparse(),
        "connect_us": unpacked(*(raw["connect"] for raw in raws)).summary(),
        "first_byte_us": unpacked(*(target["first_byte"] for raw in raws for target in raw["targets"])).summary(),
        **(_open_loop(plan, raws, counts) if plan.rate is not None else {}),
        "targets": _targets(plan, raws),
        "expected_length": raws[0]["expected_lengths"][0],
        "unanswered": sum(raw["unanswered"] for raw in raws),
        "longest_unanswered_us": max(raw["longest_unanswered_us"] for raw in raws),
        "users_never_answered": sum(raw["users_never_answered"] for raw in raws),
        "client": _client(raws),
        "warmup": {
            "answers": sum(raw["warmup"]["answers"] for raw in raws),
            "errors": dict(sum((Counter(raw["warmup"]["errors"]) for raw in raws), Counter())),
        },
        "interrupted": any(raw["interrupted"] for raw in raws),
    }


def _open_loop(plan: Plan, raws: list[Raw], counts: Counter[str]) -> dict[str, Any]:
    return {
        "due": counts["due"],
        "no_free_connection": counts["no_free_connection"],
        "service_us": unpacked(*(target["service"] for raw in raws for target in raw["targets"])).summary(),
        "send_late_us": unpacked(*(raw["send_late"] for raw in raws)).summary(),
    }


def _targets(plan: Plan, raws: list[Raw]) -> list[dict[str, Any]]:
    found = []
    for index, target in enumerate(plan.all_targets()):
        latency = unpacked(*(raw["targets"][index]["latency"] for raw in raws))
        found.append({"target": target.title, "answers": latency.count, "latency_us": latency.summary()})
    return found


def _client(raws: list[Raw]) -> dict[str, Any]:
    """The generator's own CPU time. `cpu_share` is that of its busiest process: near 1, it measures itself."""
    shares = [(raw["client"]["user_s"] + raw["client"]["system_s"]) / raw["window_s"] for raw in raws]
    return {
        "user_s": sum(raw["client"]["user_s"] for raw in raws),
        "system_s": sum(raw["client"]["system_s"] for raw in raws),
        "cpu_share": max(shares),
        "processes": len(raws),
    }


def _added(raws: list[Raw], name: str) -> Counter[str]:
    return sum((Counter(raw[name]) for raw in raws), Counter())
