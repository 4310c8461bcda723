"""Functions that compute the figures of metrics from the record of a run. `septet.lab.metrics` lists the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from septet.lab.proc import TICKS_PER_S

Record = dict[str, Any]
"""The record of one run, as in results.json."""
Number = float | int | None
GRAIN_MAX = 0.05
"""If counting in ticks of 10 ms may make a CPU time wrong by more than this share, it is neither compared nor mentioned
in sentences.
"""
Figure = Callable[[Record], Number]
"""A function that computes a figure from the record of a run; None when it is not known."""


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
    """Microseconds of CPU time of the server for one answer, user and system time together.

    From `cpu_s`, which the kernel counts in nanoseconds. Results of older versions lack it: then from ticks of 10 ms.
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
    """Return a function that reads a figure that `septet.lab.evening` has corrected from a record. `key`: the name of
    the figure.
    """
    return lambda record: record.get("evened", {}).get(key)


def cpu_grain(record: Record) -> float:
    """Return the largest error of a run's CPU time, as a share of it (0.05: 5 %): a part of that time is counted in
    ticks of 10 ms.
    """
    usage = record["usage"]
    cpu_s = usage.get("cpu_s", usage["user_s"] + usage["system_s"])
    grain_s: float = usage.get("cpu_grain_s", 2 / TICKS_PER_S * usage.get("processes", 1))
    return grain_s / cpu_s if cpu_s else 1.0


def switches(key: str) -> Figure:
    """Return a function that computes the context switches for one answer, over the whole life of the server; None if
    not all were counted. `key`: the kind of switches, a key of `stop.life` in the record.

    They are not sampled: /proc has them per living thread, and where a thread or a process serves one connection most
    have ended by the end of the window. wait4(2) also counts those of threads and processes that have ended.
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
