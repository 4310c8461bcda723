"""The counts of a load generator, and the figures of a run.

Counts are kept raw, so that those of several processes can be added; figures are made once, at the end.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from typing import Any

from .histogram import Histogram
from .plan import Plan


class Series:
    """The latencies of one target. The loop appends nanoseconds to the lists; `settle` moves them to the histograms.

    Most answers come in one piece, so that the first byte comes with the last one. For the others the time of the first
    byte is recorded in addition.
    """

    __slots__ = ("due", "errors", "firsts", "histograms", "pieces", "whole")

    def __init__(self, errors: Counter[str]) -> None:
        self.errors = errors
        """Number of errors by kind. The same counter serves all targets of a tally, which has the counts of one phase
        of the run.
        """
        self.whole: list[int] = []
        """Nanoseconds from when a user was free to send a request to its answer; one entry for each answer that came in
        one piece and is not in the histogram yet.
        """
        self.pieces: list[int] = []
        """Nanoseconds from when a user was free to send a request to the end of its answer; one entry for each answer
        that came in several pieces and is not in the histogram yet.
        """
        self.firsts: list[int] = []
        """Nanoseconds from when a user was free to send a request to the first byte of its answer; one entry for each
        answer that came in several pieces and is not in the histogram yet.
        """
        self.due: list[int] = []
        """Nanoseconds from when a request was due to the end of its answer; one entry for each answer that is not in
        the histogram yet. Only for requests at a fixed rate (an open loop).
        """
        self.histograms = {name: Histogram() for name in ("whole", "pieces", "firsts", "due")}

    def settle(self) -> None:
        for name, histogram in self.histograms.items():
            if waiting := getattr(self, name):
                histogram.record_ns(waiting)
                waiting.clear()

    def merged(self) -> dict[str, Histogram]:
        """Return the histograms of all answers, in µs, by name.

        `service`: from when a user was free to send the request to the end of the answer. `latency`: in an open loop
        from when the request was due to the end of the answer, in a closed loop equal to `service`. `first_byte`: from
        when a user was free to the first byte of the answer.
        """
        first_byte, service = Histogram(), Histogram()
        for name, histogram in (("firsts", first_byte), ("pieces", service)):
            histogram.add(self.histograms["whole"])
            histogram.add(self.histograms[name])
        due = self.histograms["due"]
        return {"latency": due if due.count else service, "first_byte": first_byte, "service": service}


class Tally:
    """The counts of one phase: there is one tally for the warm-up and one for the measured window."""

    def __init__(self, targets: int) -> None:
        self.errors: Counter[str] = Counter()
        self.series = [Series(self.errors) for _ in range(targets)]
        self.connects: list[int] = []
        """Nanoseconds that it took to establish a connection, from connect(2) on; one entry for each connection that is
        not in the histogram yet.
        """
        self.late: list[int] = []
        """Nanoseconds between when a request was due and when it was sent, for requests at a fixed rate (an open loop)
        that found a free user; one entry for each request that is not in the histogram yet.
        """
        self._connect, self._send_late = Histogram(), Histogram()
        self.counts: Counter[str] = Counter()
        """How often other things have happened than answers and errors, by name, such as "reconnects" and "retries"."""
        self.statuses: Counter[int] = Counter()
        """Number of right answers by their HTTP status."""
        self.body_bytes = 0
        self.begun_ns = time.monotonic_ns()
        self._cpu_before = resource.getrusage(resource.RUSAGE_SELF)
        self._cpu_after: resource.struct_rusage | None = None

    def settle(self) -> None:
        """Move latencies and times from the lists, to which they were appended one by one, into the histograms. Called
        a few times a second.
        """
        for series in self.series:
            series.settle()
        for waiting, histogram in ((self.connects, self._connect), (self.late, self._send_late)):
            histogram.record_ns(waiting)
            waiting.clear()

    def stop(self) -> None:
        """End the measured window: CPU time of this process from now on is not counted."""
        self._cpu_after = resource.getrusage(resource.RUSAGE_SELF)

    @property
    def answers(self) -> int:
        """Number of right answers of all targets, in one piece or several."""
        self.settle()
        return sum(each.histograms[name].count for each in self.series for name in ("whole", "pieces"))

    def latencies(self) -> Histogram:
        """Return a new histogram of the latencies of all answers so far."""
        self.settle()
        found = Histogram()
        for series in self.series:
            found.add(series.merged()["latency"])
        return found

    def raw(self) -> dict[str, Any]:
        """Return all that was counted so far, as plain values for JSON."""
        self.settle()
        before, after = self._cpu_before, self._cpu_after or resource.getrusage(resource.RUSAGE_SELF)
        return {
            "targets": [
                {name: packed(histogram) for name, histogram in series.merged().items()} for series in self.series
            ],
            "connect": packed(self._connect),
            "send_late": packed(self._send_late),
            "errors": dict(self.errors),
            "counts": dict(self.counts),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "body_bytes": self.body_bytes,
            "client": {"user_s": after.ru_utime - before.ru_utime, "system_s": after.ru_stime - before.ru_stime},
        }


def packed(histogram: Histogram) -> dict[str, Any]:
    """Return a histogram as plain values; `unpacked` is the inverse, also when JSON has made strings of the keys."""
    return {"buckets": histogram.sparse(), "max_us": histogram.max_us, "total_us": histogram.total_us}


def unpacked(*values: dict[str, Any]) -> Histogram:
    """Return one histogram with the counts of several packed ones."""
    histogram = Histogram()
    for each in values:
        buckets = {int(lowest): count for lowest, count in each["buckets"].items()}
        histogram.merge(buckets, each["max_us"], each["total_us"])
    return histogram


Raw = dict[str, Any]


def figures(plan: Plan, raws: list[Raw]) -> dict[str, Any]:
    """Compute the figures of a run, as in `load` of results.json, from the raw counts of all its processes.

    The buckets of histograms are added up; percentiles are never averaged.
    """
    window_s = max(raw["window_s"] for raw in raws)
    latency = unpacked(*(target["latency"] for raw in raws for target in raw["targets"]))
    counts = _added(raws, "counts")
    return {
        "plan": plan.values(),
        "protocol": plan.protocol,
        "window_s": window_s,
        "answers": latency.count,
        "requests_per_s": sum(raw["completed"] / raw["window_s"] for raw in raws),
        "body_bytes": sum(raw["body_bytes"] for raw in raws),
        "statuses": dict(sorted(_added(raws, "statuses").items())),
        "errors": dict(_added(raws, "errors")),
        "error_text": next((raw["error_text"] for raw in raws if raw.get("error_text")), None),
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
        **({"slow": _slow(raws)} if plan.slow else {}),
        **({"visits": [visit for raw in raws for visit in raw["visits"]]} if plan.visits else {}),
        "warmup": {
            "answers": sum(raw["warmup"]["answers"] for raw in raws),
            "errors": dict(sum((Counter(raw["warmup"]["errors"]) for raw in raws), Counter())),
        },
        "interrupted": any(raw["interrupted"] for raw in raws),
    }


def _open_loop(plan: Plan, raws: list[Raw], counts: Counter[str]) -> dict[str, Any]:
    return {
        "due": counts["due"],
        "offered_per_s": plan.rate,
        "came": sum(raw["completed"] for raw in raws),
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
    """Return the CPU time that the load generator used in the measured window. `cpu_share` is the share of one CPU that
    its busiest process used.

    Near 1 the load generator, not the server, was the limit.
    """
    shares = [(raw["client"]["user_s"] + raw["client"]["system_s"]) / raw["window_s"] for raw in raws]
    return {
        "user_s": sum(raw["client"]["user_s"] for raw in raws),
        "system_s": sum(raw["client"]["system_s"] for raw in raws),
        "cpu_share": max(shares),
        "processes": len(raws),
    }


def _slow(raws: list[Raw]) -> dict[str, Any]:
    """Return the counts of the slow clients (see the module `septet.lab.load.slow`), added up over all processes."""
    slow = [raw["slow"] for raw in raws]
    return {
        "answers": sum(each["answers"] for each in slow),
        "errors": dict(sum((Counter(each["errors"]) for each in slow), Counter())),
        "longest_us": max(each["longest_us"] for each in slow),
    }


def _added(raws: list[Raw], name: str) -> Counter[str]:
    return sum((Counter(raw.get(name, {})) for raw in raws), Counter())  # workers of a cluster may be older
