"""Judges whether the figures of a run, or of all runs of a cell (one server with one number of users), may be believed,
and gives the reason if not.

valid            nothing speaks against them
noisy            other programs used the CPUs, or the repeats differ too much
client-limited   the load generator was as busy as it can be: the server may be faster than its figures
errors           requests failed or users were never served: the figures describe only the other requests
failed           there are no figures
"""

from __future__ import annotations

import math
from typing import Any

from septet.lab.statistics import variation

VERDICTS = ("valid", "noisy", "client-limited", "errors", "failed")
"""All verdicts, from the best to the worst."""
RANKED = ("valid", "noisy", "client-limited")
"""The verdicts with which the figures of a cell (one server with one number of users) are compared with those of other
cells.
"""
DOUBT_MARK = "!"
"""The mark that tables print after a figure that is not valid."""

ERROR_SHARE_MAX = 0.001
"""A run is "errors" if more than this share of all requests failed: its figures are not those of a healthy server."""
CLIENT_SHARE_MAX = 0.85
"""A run is "client-limited" if the load generator used more than this share of a CPU: its own speed may have been the
limit.
"""
CLIENT_OTHERS_MAX = 0.10
"""A share of the load generator's CPUs. If other programs took more than this, they may be the reason why the load
generator sent requests late or limited the rate, and the run is "noisy" rather than "client-limited".
"""
SEND_LATE_MAX_US = 1000
"""A run at a given rate (open loop) is "client-limited" if the load generator sent requests late although a user was
free: if the p99 of that lateness, in µs, is more than this.
"""
FOREIGN_SHARE_MAX = 0.25
"""A run is "noisy" if other programs use more than this share of all CPUs. Work of the kernel that is charged to no
process is counted as work of other programs, but by itself does not exceed this share.
"""
STEAL_SHARE_MAX = 0.02
"""A run is "noisy" if the hypervisor takes more than this share of all CPUs."""
VARIATION_MAX, VARIED_RUNS = 0.10, 3
"""A cell (one server with one number of users, measured in several runs) is "noisy" if the standard deviation of the
rates of its runs is more than this share of their mean. If there are more than VARIED_RUNS runs, they may differ more,
because their mean is as certain then: by the square root of the number of runs for each VARIED_RUNS.
"""
ANSWERS_PER_USER_MIN = 3
"""If the users of a run had fewer answers than this on average, it is normal that some of them had none, and
`all_served` does not require an answer for each user.
"""
LITTLE_ERROR_MAX = 0.10
"""A run with a closed loop (each user waits for an answer before the next request) is "noisy" if it deviates from
Little's law (users = rate x latency) by more than this share of the number of users: then some users did nothing.
"""
LITTLE_ANSWERS_MIN = 20
"""Answers per user below which Little's law is not checked: requests in flight at both ends of the window are then too
large a part of all."""

REPEAT = "repeat this when nothing else runs"

Verdict = tuple[str, str | None]


def judge(record: dict[str, Any], cpus: int) -> Verdict:
    """Return (verdict, reason) of one run, from its record, on a machine with `cpus` CPUs; the reason is None for a
    valid run."""
    if "failure" in record:
        return "failed", record["failure"]
    load = record["load"]
    if not load["answers"]:
        waited = f"{load['unanswered']:,} users still waited after {load['longest_unanswered_us'] / 1e6:.1f} s"
        return "failed", f"no request was answered as it should be: {_kinds(load['errors']) or waited}"
    for verdict, objection in (
        ("errors", _errors(load)),
        _client(record, cpus),
        ("noisy", _noise(record, cpus)),
        ("noisy", _little(load)),
    ):
        if objection is not None:
            return verdict, objection
    return "valid", None


def judge_all(records: list[dict[str, Any]]) -> Verdict:
    """Return (verdict, reason) of a cell (one server with one number of users) from the records of its runs: the median
    of their verdicts in the order of VERDICTS.

    If a run failed, a median better than "errors" becomes "errors". A median of "valid" becomes "noisy" if the rates of
    the runs vary too much (VARIATION_MAX).
    """
    ranks = sorted(VERDICTS.index(record["verdict"]) for record in records)
    verdict = VERDICTS[ranks[len(ranks) // 2]]
    if any(record["verdict"] == "failed" for record in records):
        verdict = max(verdict, "errors", key=VERDICTS.index)
    reason = next((record["reason"] for record in reversed(records) if record["verdict"] == verdict), None)
    if verdict == "errors" and reason is None:
        failed = [record for record in records if record["verdict"] == "failed"]
        reason = f"{len(failed)} of {len(records)} runs failed: {failed[-1]['reason']}"
    if verdict == "valid":
        rates = [float(record["load"]["requests_per_s"]) for record in records if record["verdict"] != "failed"]
        if (spread := variation(rates)) > VARIATION_MAX * math.sqrt(max(1.0, len(rates) / VARIED_RUNS)):
            return "noisy", f"the repeats differ by {spread:.0%} of their mean"
    return verdict, reason


def _kinds(errors: dict[str, int]) -> str:
    return ", ".join(f"{count:,} x {kind}" for kind, count in sorted(errors.items()))


def _errors(load: dict[str, Any]) -> str | None:
    errors = sum(load["errors"].values())
    if errors > ERROR_SHARE_MAX * (errors + load["answers"]):
        return f"{errors:,} of {errors + load['answers']:,} requests failed: {_kinds(load['errors'])}"
    if load["users_never_answered"]:
        cure = ": a longer --duration would serve them" if load["answers"] < load["plan"]["users"] else ""
        return f"{load['users_never_answered']:,} users had no answer by the end{cure}"
    return None


def all_served(record: dict[str, Any]) -> bool:
    """True if at most the share ERROR_SHARE_MAX of the requests failed, and each user had an answer. Users without an
    answer are allowed if there were fewer than ANSWERS_PER_USER_MIN answers per user, as some users had to be without
    one then. False for a run whose verdict is "failed".
    """
    if record["verdict"] == "failed":
        return False
    load = record["load"]
    errors = sum(load["errors"].values())
    short = load["answers"] < ANSWERS_PER_USER_MIN * load["plan"]["users"]
    return bool(errors <= ERROR_SHARE_MAX * (errors + load["answers"]) and (short or not load["users_never_answered"]))


def is_cut(record: dict[str, Any]) -> bool:
    """True if the latencies of a run in a closed loop (each user waits for an answer before the next request) are those
    of the users who were served first: there were fewer than ANSWERS_PER_USER_MIN answers per user, so most users had
    none or still waited for one when the window ended, and their waits are not among the latencies.
    """
    load = record["load"]
    return load["plan"]["rate"] is None and load["answers"] < ANSWERS_PER_USER_MIN * load["plan"]["users"]


def client_limit(load: dict[str, Any]) -> str | None:
    """Return a sentence that says why the load generator, or one of its workers on other machines, may have limited the
    measured rate, so that the server may be faster; None if it did not. `load`: the figures of the load generator.
    """
    for worker in load["client"].get("workers", []):  # one worker at its limit spoils the figures of all
        name = f"worker {worker['worker']}"
        if (objection := _client_limit(name, worker["cpu_share"], worker["send_late_us"])) is not None:
            return objection
    return _client_limit("the load generator", load["client"]["cpu_share"], load.get("send_late_us", {}).get("p99"))


def _client(record: dict[str, Any], cpus: int) -> tuple[str, str | None]:
    """Return the verdict and its reason if the load generator, and not the server, may have limited the measured rate:
    "noisy" if other programs kept the load generator from its CPUs, so that more CPUs would not help, else
    "client-limited". The reason is None if the load generator was not the limit; the verdict has no meaning then.
    """
    objection = client_limit(record["load"])
    if objection is not None and (share := client_others_share(record, cpus)) > CLIENT_OTHERS_MAX:
        return (
            "noisy",
            f"other programs took {share:.0%} of the load generator's CPUs: {REPEAT}",
        )
    return "client-limited", objection


def client_others_share(record: dict[str, Any], cpus: int) -> float:
    """Return the share of the CPUs of the load generator that other programs took; 0 if it has no CPUs of its own, or
    if that is not known.
    """
    usage, load = record.get("usage", {}), record["load"]
    own = len(load["plan"].get("cpus") or ())
    if not own or own >= cpus or "client_cpus_busy_s" not in usage:
        return 0.0
    ours_s = load["client"]["user_s"] + load["client"]["system_s"]
    taken_s = usage["client_cpus_busy_s"] + usage["client_cpus_steal_s"] - ours_s
    return float(max(0.0, taken_s / (load["window_s"] * own)))


def _client_limit(name: str, cpu_share: float, send_late_us: float | None) -> str | None:
    if cpu_share > CLIENT_SHARE_MAX:
        return f"{name} used more than {CLIENT_SHARE_MAX:.0%} of a CPU and may be the limit"
    if (send_late_us or 0) > SEND_LATE_MAX_US:
        return f"{name} sent requests more than 1 ms too late"
    return None


def _noise(record: dict[str, Any], cpus: int) -> str | None:
    usage, total_s = record["usage"], record["load"]["window_s"] * cpus
    if (foreign_share(record, cpus) or 0) > FOREIGN_SHARE_MAX:
        return f"other programs took more than a quarter of the CPUs: {REPEAT}"
    if usage["machine_steal_s"] / total_s > STEAL_SHARE_MAX:
        return f"the hypervisor took more than {STEAL_SHARE_MAX:.0%} of the CPUs away"
    return None


def foreign_share(record: dict[str, Any], cpus: int) -> float | None:
    """Return the share of all CPUs that was used by neither the server nor the load generator; None if it is not
    known."""
    usage, load = record.get("usage", {}), record.get("load", {})
    if "machine_busy_s" not in usage or "user_s" not in load.get("client", {}):
        return None
    client = load["client"]
    client_s: float = client.get("here_s", client["user_s"] + client["system_s"])  # of a cluster, what was used here
    ours_s: float = usage["user_s"] + usage["system_s"] + client_s
    window_s: float = load["window_s"]
    return max(0.0, (float(usage["machine_busy_s"]) - ours_s) / (window_s * cpus))


def _little(load: dict[str, Any]) -> str | None:
    """Return a sentence that says how a closed loop (each user waits for an answer before the next request) contradicts
    Little's law, users = rate x (latency + think time): then some users did nothing.

    Returns None if the law holds within LITTLE_ERROR_MAX, for an open loop (requests at a given rate), and if there
    were fewer than LITTLE_ANSWERS_MIN answers per user.
    """
    plan = load["plan"]
    if plan["rate"] is not None or load["answers"] < LITTLE_ANSWERS_MIN * plan["users"]:
        return None
    present = load["requests_per_s"] * (load["latency_us"]["mean"] / 1e6 + plan.get("think_s", 0.0))
    if abs(present / plan["users"] - 1) <= LITTLE_ERROR_MAX:
        return None
    return f"rate times latency makes {present:,.0f} users, not {plan['users']:,} (Little's law): some stood still"
