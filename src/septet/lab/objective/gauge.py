"""A gauge is a run of the load generator at one rate. Carries it out, and decides what its outcome says about the
server.

A gauge that held the objective is believed, because nothing makes a server faster than it is. One that missed it counts
against the server only if nothing else explains it: the load generator at its limit, too few connections, or other
programs that had the CPUs.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from septet.lab import machine
from septet.lab.load import Plan
from septet.lab.objective.objective import ERRORS, Objective, Term, figure, milliseconds
from septet.lab.objective.search import Outcome
from septet.lab.proc import machine_times
from septet.lab.verdicts import CLIENT_SHARE_MAX, FOREIGN_SHARE_MAX, STEAL_SHARE_MAX

CONNECTIONS, CONNECTIONS_MAX = 50, 1000
"""Without --users the number of connections of a gauge (a run at one rate) follows the rate, but is not below the first
nor above the second of these numbers.
"""
DURATION_MAX_S = 30.0
TIMEOUT_MIN_S, TIMEOUT_TIMES = 1.0, 10.0
"""If no time-out is given, a request may take TIMEOUT_TIMES times the highest latency limit, but at least TIMEOUT_MIN_S
seconds.
"""
BUSY_SHARE = 0.02
"""A run that missed the objective may have had too few connections if more than this share of its requests found no
free one. If so, the miss does not count against the server.
"""
LATE_SHARE = 0.2
"""A run that missed the objective does not count against the server if the load generator sent requests too late: if
their delay, at the 99th percentile, is more than this share of the objective's lowest latency limit.
"""
BEHIND_SHARE, BEHIND_REQUESTS = 0.03, 4.0
"""A rate counts as too high for the server if requests pile up: if the number of requests that were due in the measured
window, but not answered in it, is more than this share of those that were due, and more than this number.
"""
SLOW_KINDS = ("time-out", "no free connection")
"""Kinds of errors that a busy machine can cause, so that they do not count against the server if it was busy. Errors of
other kinds always count against the server.
"""
LOOK_S = 0.25
LOOKS = 4
"""Before a gauge (a run at one rate), the CPU use of the machine is measured up to this many times, until it is low.
The server may still work on requests of the run before, which should not be taken for other programs.
"""

Carry = Callable[[Plan], dict[str, Any]]
"""A function that carries out a plan of the load generator and returns the figures."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """The result of one gauge: a run of the load generator at one rate."""

    rate: float
    outcome: Outcome
    reason: str
    """Which conditions of the objective the run missed and, if it is known, why, in a few words; "" if it met the
    objective.
    """
    carried: float
    """Right answers per second in the measured window."""
    figures: dict[str, float | None]
    """The run's figures by name: "p50", "p99", the share of errors, and every other figure that the objective limits.
    Latencies are in µs, errors a share of all requests; None: there was no answer.
    """
    answers: int
    users: int
    seconds: float
    others_share: float
    """Share of all CPUs that other programs used just before the run."""
    steal_share: float
    """Share of all CPUs that the hypervisor took during the run."""
    client_share: float
    """Share of one CPU that the busiest process of the load generator used."""

    @property
    def is_disturbed(self) -> bool:
        return self.others_share > FOREIGN_SHARE_MAX or self.steal_share > STEAL_SHARE_MAX


class Gauger:
    """Runs gauges (runs at one rate) against one server.

    `plan`: the plan of a run, whose rate is replaced. `carry` carries out such a plan. `users` (connections) and
    `duration_s` hold for every gauge; None: they are chosen for each rate. `timeout_is_given`: True if the plan's
    time-out is kept; else it is adapted to the objective.
    """

    def __init__(
        self,
        plan: Plan,
        objective: Objective,
        carry: Carry,
        users: int | None = None,
        duration_s: float | None = None,
        timeout_is_given: bool = False,
    ) -> None:
        self._plan, self._objective, self._carry = plan, objective, carry
        self._users, self._duration_s, self._timeout_is_given = users, duration_s, timeout_is_given

    def plan(self, rate: float) -> Plan:
        """Return the plan of a run at this rate. Unless `users` was given, the number of connections lies between
        CONNECTIONS and CONNECTIONS_MAX: within these bounds it is the number that would all be busy (by Little's law)
        if each answer took as long as the objective's lowest latency limit. Unless a duration was given, the run is
        long enough for its percentiles to be stable.
        """
        users, duration_s = self._users, self._duration_s
        if users is None:
            needed = math.ceil(rate * (self._objective.least_us or 0) / 1e6)
            least = len(self._plan.cpus) * max(1, self._plan.streams)
            users = max(min(max(CONNECTIONS, needed), CONNECTIONS_MAX), least)
        if duration_s is None:
            wanted = self._objective.requests_needed / rate
            duration_s = min(max(self._plan.duration_s, wanted), DURATION_MAX_S)
        return replace(self._plan, rate=rate, users=users, duration_s=round(duration_s, 2), timeout_s=self._timeout_s())

    def _timeout_s(self) -> float:
        """Return the time-out of a request in seconds: well above the objective's highest latency limit, because to
        wait longer would show nothing new. A time-out that was given is kept.
        """
        longest_us = max((term.limit for term in self._objective.latency_terms), default=None)
        if longest_us is None or self._timeout_is_given:
            return self._plan.timeout_s
        return min(self._plan.timeout_s, max(TIMEOUT_MIN_S, TIMEOUT_TIMES * longest_us / 1e6))

    def gauge(self, rate: float) -> Gauge:
        """Run the load generator at `rate` requests per second, after a look at what other programs use of the CPUs,
        and return the result.
        """
        plan = self.plan(rate)
        others = look()
        stolen, begun = machine_times()[1], time.monotonic()
        load = self._carry(plan)
        stolen, passed = machine_times()[1] - stolen, time.monotonic() - begun
        return judged(plan, load, self._objective, others, stolen / (passed * (os.cpu_count() or 1)))


def look() -> float:
    """Return the share of all CPUs, from 0 to 1, that is in use while no request is sent. A high share is measured
    again, up to LOOKS times in all, and the smallest one is returned.
    """
    least = 1.0
    for _ in range(LOOKS):
        least = min(least, machine.busy_share(LOOK_S))
        if least <= FOREIGN_SHARE_MAX:
            break
    return least


def judged(plan: Plan, load: dict[str, Any], objective: Objective, others: float, steal: float) -> Gauge:
    """Return the result of a run of the load generator at one rate, whose figures are `load`: whether it met the
    objective, and if not, whether that counts against the server. `others` and `steal` are the shares of all CPUs that
    other programs used and that the hypervisor took.
    """
    assert plan.rate is not None, "a gauge is an open loop"
    names = dict.fromkeys(["p50", "p99", *(term.figure for term in objective.terms), ERRORS])
    found = Gauge(
        rate=plan.rate,
        outcome=Outcome.HELD,
        reason="",
        carried=load["requests_per_s"],
        figures={name: figure(load, name) for name in names},
        answers=load["answers"],
        users=plan.users,
        seconds=load["window_s"],
        others_share=others,
        steal_share=steal,
        client_share=load["client"]["cpu_share"],
    )
    missed = objective.missed(load)
    if not missed and _fell_behind(load):
        missed = [f"only {load['requests_per_s']:,.0f}/s were answered"]
    if not missed:
        return found
    outcome, why = _explained(found, plan, load, objective)
    reason = "; ".join([*missed, why]) if why else "; ".join(missed)
    return replace(found, outcome=outcome, reason=reason)


def _explained(found: Gauge, plan: Plan, load: dict[str, Any], objective: Objective) -> tuple[Outcome, str]:
    """Return what a run that missed the objective says about the server, and a reason: why the miss does not count
    against the server, or which errors do; "" if there is no more to say. Errors of kinds other than SLOW_KINDS, such
    as wrong answers, always count against it if they are more than the objective allows.
    """
    wrong = sum(count for kind, count in load["errors"].items() if kind not in SLOW_KINDS)
    if not Term(ERRORS, objective.errors_max, inclusive=True).is_met(wrong / max(1, wrong + load["answers"])):
        return Outcome.MISSED, ", ".join(f"{count:,} x {kind}" for kind, count in sorted(load["errors"].items()))
    least_us = objective.least_us
    late_us = (load.get("send_late_us") or {}).get("p99") or 0.0
    is_late = least_us is not None and late_us > LATE_SHARE * least_us
    if found.client_share > CLIENT_SHARE_MAX:
        return Outcome.LIMITED, f"the load generator used {found.client_share:.0%} of its CPU"
    busy = load["no_free_connection"] / max(1, load["due"])
    if busy > BUSY_SHARE and plan.users < found.rate * (least_us or 0.0) / 1e6:
        return Outcome.LIMITED, f"all {plan.users:,} connections were busy: take more --users"
    if found.steal_share > STEAL_SHARE_MAX:
        return Outcome.DISTURBED, f"the hypervisor took {found.steal_share:.0%} of the CPUs"
    if found.others_share > FOREIGN_SHARE_MAX:
        return Outcome.DISTURBED, f"other programs used {found.others_share:.0%} of the CPUs"
    if is_late:
        return Outcome.DISTURBED, f"requests were sent {milliseconds(late_us)} late, as others had the CPU"
    return Outcome.MISSED, ""


def _fell_behind(load: dict[str, Any]) -> bool:
    due = load["due"]
    return bool(due - load["requests_per_s"] * load["window_s"] > max(BEHIND_REQUESTS, BEHIND_SHARE * due))
