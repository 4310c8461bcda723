"""Writes a trace as a file that ui.perfetto.dev and chrome://tracing open: Chrome's Trace Event Format, as JSON.

Source: "Trace Event Format" (Google, 2016 and later), and Perfetto's "External trace formats". Complete events ("X",
with a start and a duration in microseconds) are on the track of their process and thread; on one track they must nest
or follow one another. Users are the threads of a process of their own: each request has an event, and its states are
events within it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from septet.lab.threads.states import Interval
from septet.lab.trace.requests import intervals
from septet.lab.trace.rows import names
from septet.lab.trace.tracing import Trace

USERS_PID = 0
"""The pid under which the file has the users as threads: one that no process in user space has."""

Event = dict[str, Any]


def save(trace: Trace, path: Path, about: Mapping[str, Any]) -> None:
    """Write the trace file; `about` has what is told of its origin, such as the command and the machine."""
    document = {"traceEvents": events(trace), "displayTimeUnit": "ms", "otherData": {**about, "model": trace.model}}
    path.write_text(json.dumps(document, separators=(",", ":")))


def events(trace: Trace) -> list[Event]:
    """Return all events; time 0 is the beginning of the recording, earlier requests have negative times."""
    return [*_threads(trace), *_users(trace)]


def _threads(trace: Trace) -> list[Event]:
    origin = trace.recording.start
    lanes = [lane for lane in trace.recording.lanes if lane.intervals]
    found = [
        _named("process_name", pid, pid, "server" if pid == trace.first_pid else f"server process {pid}")
        for pid in dict.fromkeys(lane.pid for lane in lanes)
    ]
    for lane, name in zip(lanes, names(lanes, trace.first_pid), strict=True):
        found.append(_named("thread_name", lane.pid, lane.tid, name))
        found += [_complete(each, lane.pid, lane.tid, origin, "thread") for each in lane.intervals]
    return found


def _users(trace: Trace) -> list[Event]:
    origin = trace.recording.start
    lanes = {lane.tid: lane for lane in trace.recording.lanes}
    found = [_named("process_name", USERS_PID, USERS_PID, "users")]
    users = sorted({request.user for request in trace.requests})
    found += [_named("thread_name", USERS_PID, user, f"user {user}") for user in users]
    for request in trace.requests:
        whole = {"ph": "X", "cat": "request", "name": "request", "pid": USERS_PID, "tid": request.user}
        times = _times(request.asked, request.answered, origin)
        found.append({**whole, **times, "args": {"status": request.status, "turns": len(request.turns)}})
        found += [_complete(each, USERS_PID, request.user, origin, "user") for each in intervals(request, lanes)]
    return found


def _named(kind: str, pid: int, tid: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}


def _complete(interval: Interval, pid: int, tid: int, origin: int, category: str) -> Event:
    times = _times(interval.start, interval.end, origin)
    return {"ph": "X", "cat": category, "name": interval.state.label, "pid": pid, "tid": tid, **times}


def _times(start: int, end: int, origin: int) -> dict[str, float]:
    """Return start and duration as microseconds, with nanoseconds as decimals. The arguments are in ns; `origin` is
    time 0.
    """
    return {"ts": (start - origin) / 1000, "dur": (end - start) / 1000}
