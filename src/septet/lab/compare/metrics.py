"""The figures that are compared, by the names that the command line has for them."""

from __future__ import annotations

from typing import NamedTuple

DEFAULT = ("requests/s", "p99", "CPU/request", "memory")


class Metric(NamedTuple):
    """A figure of `septet.lab.summary`, and whether more of it is better."""

    figure: str
    more_is_better: bool = False


METRICS = {
    "requests/s": Metric("requests_per_s", more_is_better=True),
    "p50": Metric("p50_us"),
    "p90": Metric("p90_us"),
    "p99": Metric("p99_us"),
    "p99.9": Metric("p99.9_us"),
    "CPU/request": Metric("cpu_us"),
    "memory": Metric("pss_bytes"),
    "switches/request": Metric("switches"),
    "threads": Metric("threads"),
    "processes": Metric("processes"),
}
