"""Functions that compute the figures of metrics from the record of a run. `septet.lab.metrics` lists the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from septet.lab.proc import TICKS_PER_S

Record = dict[str, Any]
"""The record of one run, as in results.json."""
Number = float | int | None
GRAIN_MAX = 0.05
"""The kernel counts a part of CPU time in ticks of 10 ms. If that may make the CPU time of a run wrong by more than
this share, the CPU time is neither compared nor mentioned in sentences.
"""
Figure = Callable[[Record], Number]
"""A function that computes a figure from the record of a run, and returns None when the figure is not known."""


def latency(name: str) -> Figure:
    return lambda record: record["load"]["latency_us"].get(name)


def usage(key: str) -> Figure:
    return lambda record: record["usage"].get(key)


def cpu_us(key: str) -> Figure:
    """Return a function that computes microseconds of CPU time for one answer, from the CPU seconds in `usage[key]` of
    a record.
    """
    return lambda record: record["usage"][key] * 1e6 / (record["load"]["requests_per_s"] * record["load"]["window_s"])


def whole_cpu_us(record: Record) -> Number:
    """Return the microseconds of CPU time (user and system) that the server took for one answer.

    They are computed from `cpu_s`, which the kernel counts in nanoseconds. Results of older versions of Septet lack it;
    for them times in ticks of 10 ms are used.
    """
    if "cpu_s" in record["usage"]:
        return cpu_us("cpu_s")(record)
    return total(cpu_us("user_s"), cpu_us("system_s"))(record)


def cpu_per_probe(record: Record) -> Number:
    """Return the CPU time of an answer as a multiple of the time that a fixed piece of work took on the same CPUs (see
    `septet.lab.probe`); None if that was not timed.
    """
    cpu_us, probe_us = whole_cpu_us(record), record["usage"].get("probe_us")
    return cpu_us / probe_us if cpu_us and probe_us else None


def evened(key: str) -> Figure:
    """Return a function that reads one of the figures that `septet.lab.evening` has added to a record, corrected for
    the state of the machine. `key`: the name of the figure.
    """
    return lambda record: record.get("evened", {}).get(key)


def cpu_grain(record: Record) -> float:
    """Return by how much a run's CPU time may be wrong, as a share of it (0.05: 5 %), because a part of that time is
    counted in ticks of 10 ms.
    """
    usage = record["usage"]
    cpu_s = usage.get("cpu_s", usage["user_s"] + usage["system_s"])
    grain_s: float = usage.get("cpu_grain_s", 2 / TICKS_PER_S * usage.get("processes", 1))
    return grain_s / cpu_s if cpu_s else 1.0


def switches(key: str) -> Figure:
    """Return a function that computes the context switches for one answer, over the whole life of the server; None if
    not all were counted. `key`: the kind of switches, a key of `stop.life` in the record.

    wait4(2) gives the counts when the server ends. They cannot be read during the run: /proc has them only for living
    threads, and where each connection has a thread or a process of its own, most of these have ended by then.
    """

    def figure(record: Record) -> Number:
        stop, load = record["stop"], record["load"]
        answers = stop.get("answers") or load["answers"] + load["warmup"]["answers"]  # of all visits to the server
        return stop["life"][key] / answers if stop["life"]["complete"] else None

    return figure


def error_share(record: Record) -> Number:
    errors: int = sum(record["load"]["errors"].values())
    answers: int = record["load"]["answers"]
    return errors / (errors + answers)


def total(*parts: Figure) -> Figure:
    """Return a function that computes the sum of the figures `parts` of a record; None if one of them is not known."""

    def figure(record: Record) -> Number:
        values = [value for each in parts if (value := each(record)) is not None]
        return sum(values) if len(values) == len(parts) else None

    return figure
