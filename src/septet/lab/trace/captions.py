"""The titles and captions of the pictures (what was traced, on which machine, how it was recorded), and file names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from septet.lab.threads.states import State
from septet.lab.trace.recorder import Recording
from septet.lab.trace.tracing import Trace, TracePlan

WAYS = {
    "switches": "Recorded by perf_event_open: every switch of every thread",
    "samples": "Recorded by looking into /proc every 2 ms: shorter states are missing, boundaries are 1 ms wide",
    "spans": "Recorded by the server alone: what its threads did on CPUs is not known",
}


def title(plan: TracePlan) -> str:
    users = "one user" if plan.users == 1 else f"{plan.users} users"
    return f"Who runs, who waits: {users} of {plan.app or 'the guestbook'}"


def overview(plan: TracePlan) -> str:
    return f"All of {_seconds(plan.duration_s)}, in columns; {_setting(plan)}"


def zoom(plan: TracePlan, length_ms: float) -> str:
    return f"The {length_ms:g} ms with the most requests of {_seconds(plan.duration_s)}; {_setting(plan)}"


def _seconds(seconds: float) -> str:
    return "one second" if seconds == 1 else f"{seconds:g} seconds"


def _setting(plan: TracePlan) -> str:
    connections = "keep their connections" if plan.keep_alive else "open a connection for every request"
    return f"GET {plan.path}; users {connections} and think for {plan.think_s * 1000:g} ms or so"


def machine(described: Mapping[str, Any], date: str) -> str:
    return (
        f"{described['cpu']}, {described['cpus_usable']} CPUs shared with the users and the recorder; "
        f"Linux {described['kernel']}; Python {described['python'].split()[0]}; {date}"
    )


def method(recordings: Sequence[Recording]) -> str:
    """Return a sentence that says how the recordings were made (by which of `recorder.WAYS`), and how many records were
    lost."""
    ways = {recording.way for recording in recordings}
    way = ways.pop() if len(ways) == 1 else "mixed"
    if way == "switches":
        records, lost = (sum(getattr(each, name) for each in recordings) for name in ("records", "lost"))
        return f"{WAYS[way]}, {records:,} records, {_lost(lost)}"
    return WAYS.get(way, "Recorded in different ways, see each model")


def _lost(number: int) -> str:
    return f"{number:,} MORE WERE LOST" if number else "none lost"


def model(trace: Trace) -> str:
    """Return the line below the name of a model in a picture: its threads, its requests with their median latency, and
    its errors.
    """
    answered = [each for each in trace.requests if each.status]
    seconds = round((trace.recording.end - trace.recording.start) / 1e9, 2)
    times = f"{median(each.answered - each.asked for each in answered) / 1e6:.1f} ms each (median)"
    said = f"{len(answered)} requests in {seconds:g} s, {times}"
    return "; ".join([_threads(trace), said, *_wrong(trace)])


def _wrong(trace: Trace) -> list[str]:
    """Return the number of failed requests by status, as texts: readers must see that a picture shows errors."""
    kinds = Counter(each.status for each in trace.requests if not each.status or each.status >= 400)
    return [f"{count} x status {status}" if status else f"{count} failed" for status, count in sorted(kinds.items())]


def _threads(trace: Trace) -> str:
    lanes = trace.recording.lanes
    if not lanes:
        return "threads not seen"
    threads, processes = len(lanes), len({lane.pid for lane in lanes})
    running = sum(lane.total(State.RUNNING) for lane in lanes) / (trace.recording.end - trace.recording.start)
    who = "1 thread" if threads == 1 else f"{threads:,} threads" + (f" in {processes:,} processes" * (processes > 1))
    return f"{who}, running {running:.0%} of the time" + (" together" if threads > 1 else "")


DIRECTORY = "trace"  # for the trace of an experiment, within the directory of its results
FIGURES = "trace.json"
ZOOM, OVERVIEW = "zoom", "overview"  # pictures, each as .svg and .png
