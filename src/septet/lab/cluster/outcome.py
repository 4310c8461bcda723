"""The figures of a run on a cluster: as of any other, and each worker's part beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from septet.lab.cluster.remote import Remote
from septet.lab.load import Histogram, Plan
from septet.lab.load.figures import figures
from septet.lab.load.tally import unpacked


def outcome(plan: Plan, members: Sequence[Remote]) -> dict[str, Any]:
    """Figures with `client.workers`, and `client.here_s`: CPU seconds that the load took of our own machine."""
    found = figures(plan, [_raw(member) for member in members])
    workers = list({member.worker.address: member.worker for member in members}.values())
    parts = [_part([member for member in members if member.worker is worker], _shares(members)) for worker in workers]
    found["client"] |= {
        "cpu_share": max(part["cpu_share"] for part in parts),
        "here_s": sum(_cpu_s(member) for member in members if member.worker.here),
        "workers": parts,
    }
    return found


def _raw(member: Remote) -> dict[str, Any]:
    assert member.raw is not None, "a run without the counts of a member has failed"
    return member.raw


def _part(members: Sequence[Remote], shares: dict[object, float]) -> dict[str, Any]:
    """What one worker did. Times in µs; its clock's offset against ours is that of the monotonic clocks."""
    first, raws = members[0], [_raw(member) for member in members]
    return {
        "worker": first.worker.name,
        "processes": len(members),
        "users": sum(member.plan.users for member in members),
        "answers": _merged(raws, "latency").count,
        "errors": sum(sum(raw["errors"].values()) for raw in raws),
        "cpu_share": max(shares[_cpu_of(member)] for member in members),
        "send_late_us": unpacked(*(raw["send_late"] for raw in raws)).summary()["p99"],
        "began_late_us": max(member.late_ns for member in members) // 1000,
        "clock_ahead_us": first.clock.ahead_ns // 1000,
        "clock_uncertainty_us": first.clock.uncertainty_ns // 1000,
    }


def _merged(raws: Sequence[dict[str, Any]], name: str) -> Histogram:
    return unpacked(*(target[name] for raw in raws for target in raw["targets"]))


def _shares(members: Sequence[Remote]) -> dict[object, float]:
    """Of one CPU, by process; processes that are bound to the same CPU of the same machine have one share together."""
    shares: dict[object, float] = {}
    for member in members:
        shares[_cpu_of(member)] = shares.get(_cpu_of(member), 0.0) + _cpu_s(member) / _raw(member)["window_s"]
    return shares


def _cpu_of(member: Remote) -> object:
    return (member.worker.kernel_id, member.plan.cpus) if member.plan.cpus else id(member)


def _cpu_s(member: Remote) -> float:
    used = _raw(member)["client"]
    return float(used["user_s"] + used["system_s"])
