"""Results of runs that never were, for tests of what is made from results."""

from pathlib import Path
from typing import Any

from septet.lab import results
from septet.lab.experiment import Experiment
from septet.lab.load import Histogram
from septet.lab.verdicts import judge
from septet.lab.where.parts import KEYS

Record = dict[str, Any]


def valid(model: str, users: int, rate: float, cpu_share: float = 0.3, repeat: int = 1, **setting: str) -> Record:
    histogram = Histogram()
    for us in range(1000, 2000):
        histogram.record(us)
    record = {
        "model": model,
        "users": users,
        "setting": setting,
        "repeat": repeat,
        "load": {
            "plan": {"rate": None, "users": users},
            "requests_per_s": rate,
            "window_s": 1000 / rate,
            "answers": 1000,
            "errors": {},
            "unanswered": 0,
            "longest_unanswered_us": 0,
            "users_never_answered": 0,
            "latency_us": {**histogram.summary(), "mean": users / rate * 1e6},
            "latency_total_us": histogram.total_us,
            "histogram_us": histogram.sparse(),
            "client": {"cpu_share": cpu_share, "user_s": 0.01, "system_s": 0.02},
            "warmup": {"answers": 500, "errors": {}},
        },
        "usage": {
            "cpu_s": 0.05,
            "cpu_grain_s": 0.0,
            "user_s": 0.03,
            "system_s": 0.02,
            "processes": 2,
            "threads": 9,
            "rss_bytes": 30_000_000,
            "pss_bytes": 25_000_000,
            "descriptors": 40,
            "queue_depth": 3,
            "queue_overflows": 0,
            "gil_share": 0.25,
            "machine_busy_s": 0.085,
            "machine_steal_s": 0.0,
            "server_cpus_busy_s": 0.085,
            "server_cpus_steal_s": 0.0,
            "probe_us": 50.0,
            "probe_cold_us": 60.0,
            "cpu_mhz": 2400.0,
            "cpus_wanted": 0.9,
        },
        "stop": {"life": {"complete": True, "voluntary_switches": 1200, "involuntary_switches": 300}},
    }
    record["verdict"], record["reason"] = judge(record, 4)
    return record


def with_errors(model: str, users: int, rate: float, reason: str) -> Record:
    record = valid(model, users, rate)
    record["load"]["errors"] = {"reset": 15}
    return {**record, "verdict": "errors", "reason": reason}


def failed(model: str, users: int, reason: str, repeat: int = 1) -> Record:
    record: Record = {"model": model, "users": users, "setting": {}, "repeat": repeat}
    return {**record, "verdict": "failed", "reason": reason}


def split_request(model: str, users: int, latency_us: float = 10_000.0, **shares: float) -> Record:
    """Where the time of a request went: these shares of it in these parts, and the rest in the application."""
    shares = {"application": 1 - sum(shares.values()), **shares}
    parts_us = {key: shares.get(key, 0.0) * latency_us for key in KEYS}
    about = {"model": model, "users": users, "setting": {}, "failure": None, "command": ["septet", "serve"]}
    return {**about, "answers": 100, "requests": 99, "latency_us": latency_us, "parts_us": parts_us, "samples": 50}


def results_of(*records: Record, **changes: Any) -> results.Results:
    models = tuple(dict.fromkeys(record["model"] for record in records))
    users = tuple(sorted({record["users"] for record in records}))
    experiment = Experiment(out=Path("out"), models=models, users=users, **changes)
    recorded = results.begin(experiment, ["septet", "bench"])
    recorded["runs"] += records
    return recorded


#: Cells of which figures are good, doubtful and missing, at two numbers of users. No test changes them.
MIXED = results_of(
    valid("iterative", 20, 2900.4),
    valid("epoll", 20, 4000, cpu_share=0.9),
    valid("threaded", 20, 5.25),
    with_errors("epoll", 100, 3900, "120 of 8,000 requests failed: 120 x reset"),
    failed("iterative", 100, "no answer within 15 s of starting"),
)
