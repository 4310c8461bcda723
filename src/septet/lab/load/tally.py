"""What a load generator counts, and the figures that are made of it."""

from __future__ import annotations

import resource
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from .histogram import Histogram
from .plan import Plan


class Tally:
    """What has been counted since it was made: one for the warm-up, one for the measured window."""

    __slots__ = ("begun_ns", "body_bytes", "cpu", "errors", "histogram", "reconnects", "record", "retries")

    def __init__(self) -> None:
        self.histogram = Histogram()
        self.record = self.histogram.record
        self.errors: Counter[str] = Counter()
        self.body_bytes = 0
        self.reconnects = 0
        self.retries = 0
        self.begun_ns = time.monotonic_ns()
        self.cpu = resource.getrusage(resource.RUSAGE_SELF)

    def figures(self, plan: Plan) -> dict[str, Any]:
        """The figures from the beginning of this tally to now; plain values, ready for JSON."""
        window_s = (time.monotonic_ns() - self.begun_ns) / 1e9
        answers = self.histogram.count
        return {
            "plan": asdict(plan),
            "window_s": window_s,
            "answers": answers,
            "requests_per_s": answers / window_s,
            "body_bytes": self.body_bytes,
            "errors": dict(self.errors),
            "reconnects": self.reconnects,
            "retries": self.retries,
            "latency_us": self.histogram.summary(),
            "latency_total_us": self.histogram.total_us,
            "histogram_us": self.histogram.sparse(),
            "client": self._client(window_s),
        }

    def _client(self, window_s: float) -> dict[str, float]:
        """The generator's own CPU time: near a whole CPU, it measures itself and not the server."""
        now = resource.getrusage(resource.RUSAGE_SELF)
        user_s, system_s = now.ru_utime - self.cpu.ru_utime, now.ru_stime - self.cpu.ru_stime
        return {"user_s": user_s, "system_s": system_s, "cpu_share": (user_s + system_s) / window_s}
