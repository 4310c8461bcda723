"""A trial: the figures of one run of the load generator, and the judgement whether the latency target was met.

If a trial met the target, that is believed even if the machine was busy, because nothing makes a server faster than it
is. If it did not, that counts against the server only if nothing else explains it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from septet.lab.advise.capacity_search import Outcome
from septet.lab.evening import DISTURBED_SHARE
from septet.lab.verdicts import CLIENT_OTHERS_MAX, CLIENT_SHARE_MAX, ERROR_SHARE_MAX, client_others_share, judge

BEHIND_SHARE = 0.03
"""A queue counts as growing, and the latency target as missed, if at the end of a trial more than this share of the
requests that were due, and more than BEHIND_REQUESTS, are not answered.
"""
BEHIND_REQUESTS = 4.0
MISSED_SHARE = 0.8
"""The server's CPU time is read twice: exactly from the scheduler, and coarsely in the kernel's ticks. If the exact
time is less than this share of the coarse one, it lacks threads that ended during the trial, and the coarse one is
used.
"""
LATE_SHARE = 0.2
"""If the load generator itself sent requests late, a missed target is not held against the server: namely if the p99 of
the delay with which they were sent is more than this share of the target.
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """The figures of one run of load. Shares of CPU time are of one CPU: 2 means two CPUs."""

    rate: float | None
    """Requests that became due in a second; None: there was no given rate, since each user sent a request when it had
    an answer (a closed loop).
    """
    users: int
    answered_per_s: float
    answers: int
    errors: int
    p50_s: float | None
    p99_s: float | None
    due: int
    window_s: float
    late_p99_s: float
    """How late the load generator sent requests that were due and for which a connection was free: the p99 of the
    delay, in seconds.
    """
    client_share: float
    cpu_s: float
    """CPU time of the server for one answer, in seconds."""
    delay_s: float
    """Seconds per answer for which threads of the server were ready to run and waited for a CPU."""
    server_share: float
    """CPU time that the server used or waited for, divided by the time of the window: above 1 with several CPUs."""
    gil_share: float | None
    memory_bytes: int | None
    processes: int
    threads: int
    queue_overflows: int
    verdict: str
    reason: str | None
    failure: str | None = None
    used_share: float | None = None
    """CPU time that the server used, divided by the time of the window; None if the run failed."""
    others_share: float = 0.0
    """CPU time that other programs used on the server's CPUs, divided by the time of the window."""
    stolen_share: float = 0.0
    """CPU time that the hypervisor took from the server's CPUs, divided by the time of the window."""
    kinds: tuple[tuple[str, int], ...] = ()
    """Failed requests by kind ("timeout", "status 503", ...), the most frequent first."""
    disturbance: str | None = None
    """A few words on which programs took so much of the CPUs that a missed target is not held against the server; None
    if none did. It is set even if requests failed, when `verdict` says "errors" and nothing about other programs.
    """

    @property
    def used(self) -> float:
        return self.server_share if self.used_share is None else self.used_share

    least_s: float | None = None
    """The time of the fastest answer, in seconds. Other programs hardly change it: even on a busy machine, some of many
    answers are not delayed by anything.
    """

    @property
    def is_disturbed(self) -> bool:
        return self.disturbance is not None or self.verdict == "noisy"

    @property
    def answered_nothing(self) -> bool:
        return self.failure is not None or not self.answers

    @property
    def error_share(self) -> float:
        return self.errors / (self.errors + self.answers) if self.errors else 0.0

    @property
    def failures(self) -> str:
        """Return the failed requests by kind, as text."""
        return ", ".join(f"{count:,} x {kind}" for kind, count in self.kinds)

    @property
    def fell_behind(self) -> bool:
        """True if clearly fewer requests were answered in the window than became due, so that a queue grew."""
        if self.rate is None:
            return False
        missing = self.rate * self.window_s - self.answered_per_s * self.window_s
        return missing > max(BEHIND_REQUESTS, BEHIND_SHARE * self.rate * self.window_s)


def read_trial(record: Mapping[str, Any], cpus: int) -> Trial:
    """Make a trial from the record of a run (see `measure.TrialRunner`). `cpus`: number of CPUs of the machine."""
    verdict, reason = judge(dict(record), cpus)
    if "failure" in record:
        return _failed(record["failure"])
    load, usage = record["load"], record["usage"]
    answered = max(1.0, load["requests_per_s"] * load["window_s"])
    ran_s, delayed_s = _scheduled(record)
    latency = load["latency_us"]
    used_s = max(ran_s, usage.get("cpu_s", 0.0))  # the latter has threads that ended in the window
    others_share = max(0.0, usage.get("server_cpus_busy_s", 0.0) - used_s) / load["window_s"]
    stolen_share = usage.get("server_cpus_steal_s", 0.0) / load["window_s"]
    return Trial(
        rate=load["plan"]["rate"],
        users=load["plan"]["users"],
        answered_per_s=load["requests_per_s"],
        answers=load["answers"],
        errors=sum(load["errors"].values()),
        p50_s=_seconds(latency["p50"]),
        p99_s=_seconds(latency["p99"]),
        due=load.get("due", load["answers"]),
        window_s=load["window_s"],
        late_p99_s=_seconds(load.get("send_late_us", {}).get("p99")) or 0.0,
        client_share=load["client"]["cpu_share"],
        cpu_s=ran_s / answered,
        delay_s=delayed_s / answered,
        server_share=(ran_s + delayed_s) / load["window_s"],
        gil_share=usage["gil_share"],
        memory_bytes=usage["pss_bytes"] or usage["rss_bytes"],
        processes=usage["processes"],
        threads=usage["threads"],
        queue_overflows=usage["queue_overflows"],
        verdict=verdict,
        reason=reason,
        used_share=ran_s / load["window_s"],
        others_share=others_share,
        stolen_share=stolen_share,
        least_s=_seconds(min(map(int, load["histogram_us"]), default=None)),
        kinds=tuple(sorted(load["errors"].items(), key=lambda kind: -kind[1])),
        disturbance=_disturbance(record, cpus, others_share + stolen_share),
    )


def _disturbance(record: Mapping[str, Any], cpus: int, taken_share: float) -> str | None:
    """Return in a few words how much of the CPUs of the server or the load generator other programs took; None if they
    took little.

    `taken_share`: CPU time that other programs and the hypervisor had on the server's CPUs, divided by the time of the
    window. It is ignored if server and load generator share their CPUs, because it includes the load generator then.
    """
    server, client = record.get("pinned") or ((), ())
    if server and client and taken_share > DISTURBED_SHARE * len(server):
        return f"others took {min(1.0, taken_share / len(server)):.0%} of the server's CPUs"
    if (share := client_others_share(dict(record), cpus)) > CLIENT_OTHERS_MAX:
        return f"others took {min(1.0, share):.0%} of the load generator's CPUs"
    return None


def _scheduled(record: Mapping[str, Any]) -> tuple[float, float]:
    """Return two sums over the server's threads during the trial: seconds on a CPU, and seconds ready to run but
    waiting for a CPU.

    If threads ended during the trial, the first is counted in ticks, and the second is 0.
    """
    ticks_s = record["usage"]["user_s"] + record["usage"]["system_s"]
    exact = record.get("scheduled") or {"ran_s": 0.0, "delayed_s": 0.0}
    if exact["ran_s"] < MISSED_SHARE * ticks_s or exact["ran_s"] <= 0:
        return ticks_s, 0.0
    return exact["ran_s"], max(0.0, exact["delayed_s"])


def outcome(trial: Trial, target_s: float) -> tuple[Outcome, str]:
    """Judge a trial at a given rate against the latency target; returns the outcome and its reason in a few words."""
    if trial.failure is not None:
        return Outcome.BROKEN, trial.failure
    objection = _objection(trial, target_s)
    if objection is None:
        return Outcome.HELD, f"p99 {milliseconds(trial.p99_s)}"
    if trial.client_share > CLIENT_SHARE_MAX:
        return Outcome.LIMITED, f"{objection}, but the load generator used {trial.client_share:.0%} of its CPU"
    if trial.late_p99_s > LATE_SHARE * target_s:
        return Outcome.DISTURBED, f"{objection}, but requests were sent {milliseconds(trial.late_p99_s)} late"
    if trial.is_disturbed:
        why = trial.disturbance or (trial.reason or "").partition(":")[0]
        return Outcome.DISTURBED, f"{objection}, but {why}"
    return Outcome.BROKEN, objection


def _objection(trial: Trial, target_s: float) -> str | None:
    """Return the reason why the target was not met in a trial, in a few words; None if it was met."""
    if trial.error_share > ERROR_SHARE_MAX or not trial.answers:
        return f"{trial.errors:,} of {trial.errors + trial.answers:,} requests failed ({trial.failures or 'no answer'})"
    if trial.p99_s is None or trial.p99_s > target_s:
        return f"p99 {milliseconds(trial.p99_s)}"
    if trial.fell_behind:
        return f"only {trial.answered_per_s:,.0f} answers/s"
    return None


def milliseconds(seconds: float | None) -> str:
    """Return a time as text with three digits, in ms or s; "unknown" for None."""
    if seconds is None:
        return "unknown"
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:,.3g} s"


def _seconds(us: float | None) -> float | None:
    return None if us is None else us / 1e6


def _failed(why: str) -> Trial:
    numbers: dict[str, Any] = dict.fromkeys(Trial.__dataclass_fields__, 0)
    unknown = dict.fromkeys(("rate", "p50_s", "p99_s", "gil_share", "memory_bytes"))
    return Trial(
        **{
            **numbers,
            **unknown,
            "kinds": (),
            "disturbance": None,
            "used_share": None,
            "least_s": None,
            "verdict": "failed",
            "reason": why,
            "failure": why,
        }
    )
