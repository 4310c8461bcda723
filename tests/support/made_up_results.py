"""Results of runs that never were, for tests of what is made from results."""

from pathlib import Path
from typing import Any

from septet.lab import results
from septet.lab.experiment import Experiment
from septet.lab.load import Histogram

Cell = dict[str, Any]


def valid(model: str, users: int, rate: float, cpu_share: float = 0.3) -> Cell:
    histogram = Histogram()
    for us in range(1000, 2000):
        histogram.record(us)
    return {
        "model": model,
        "users": users,
        "verdict": "valid",
        "reason": None,
        "load": {
            "requests_per_s": rate,
            "answers": 1000,
            "errors": {},
            "latency_us": histogram.summary(),
            "client": {"cpu_share": cpu_share},
            "warmup": {"answers": 500, "errors": {}},
        },
        "usage": {"user_s": 0.03, "system_s": 0.02, "processes": 2, "threads": 9, "pss_bytes": 25_000_000},
        "stop": {"life": {"complete": True, "voluntary_switches": 1200, "involuntary_switches": 300}},
    }


def with_errors(model: str, users: int, rate: float, reason: str) -> Cell:
    return {**valid(model, users, rate), "verdict": "errors", "reason": reason}


def failed(model: str, users: int, reason: str) -> Cell:
    return {"model": model, "users": users, "verdict": "failed", "reason": reason}


def results_of(*cells: Cell) -> results.Results:
    models = tuple(dict.fromkeys(cell["model"] for cell in cells))
    users = tuple(sorted({cell["users"] for cell in cells}))
    recorded = results.begin(Experiment(out=Path("out"), models=models, users=users), ["septet", "bench"])
    recorded["cells"] += cells
    return recorded
