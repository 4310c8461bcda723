"""Latencies counted in log-linear buckets: a microsecond and a minute are both exact to less than 1 %."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

PERCENTILES = (50, 75, 90, 99, 99.9, 99.99)
SUB_BITS = 7
"""There are 2**SUB_BITS = 128 buckets from each power of 2 to the next."""
BUCKETS = (1 << SUB_BITS) * 34
"""Number of buckets: enough for 2**40 µs, twelve days."""

Sparse = Mapping[int, int]
"""A histogram without its empty buckets: the count of each bucket, by the lowest value in µs that belongs to it."""


class Histogram:
    """Counts of latencies in whole microseconds. Below 256 µs each value has its own bucket.

    Histograms of several processes can be merged by adding their counts. Percentiles cannot: an average of percentiles
    means nothing.
    """

    __slots__ = ("counts", "max_us", "total_us")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.max_us = 0
        self.total_us = 0

    def record(self, us: int, times: int = 1) -> None:
        shift = us.bit_length() - SUB_BITS - 1
        self.counts[us if shift <= 0 else (shift << SUB_BITS) + (us >> shift)] += times
        self.total_us += us * times
        if us > self.max_us:
            self.max_us = us

    def record_ns(self, latencies_ns: Iterable[int]) -> None:
        """Record many latencies in ns at once. Equal ones are first counted together, which halves the time."""
        for us, times in Counter([ns // 1000 for ns in latencies_ns]).items():
            self.record(us, times)

    @staticmethod
    def lowest(bucket: int) -> int:
        """Return the lowest value in µs that belongs to the bucket with this index."""
        shift = max(0, (bucket >> SUB_BITS) - 1)
        return (bucket - (shift << SUB_BITS)) << shift

    @property
    def count(self) -> int:
        return sum(self.counts)

    def percentile(self, percent: float) -> int | None:
        """Return the latency in µs that `percent` % of the recorded ones do not exceed, rounded up to the end of its
        bucket; None without values.
        """
        wanted = max(1.0, self.count * percent / 100)
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(self.lowest(bucket + 1) - 1, self.max_us)
        return None

    def sparse(self) -> dict[int, int]:
        """Return the count of each bucket that is not empty, by the lowest value of the bucket in µs."""
        return {self.lowest(bucket): count for bucket, count in enumerate(self.counts) if count}

    def merge(self, sparse: Sparse, max_us: int, total_us: int) -> None:
        """Add another histogram: its `sparse()`, its largest value and the sum of its values, both in µs."""
        for lowest, count in sparse.items():
            shift = max(0, lowest.bit_length() - SUB_BITS - 1)
            self.counts[(shift << SUB_BITS) + (lowest >> shift)] += count
        self.max_us = max(self.max_us, max_us)
        self.total_us += total_us

    def add(self, other: Histogram) -> None:
        self.merge(other.sparse(), other.max_us, other.total_us)

    def since(self, before: Histogram) -> Histogram:
        """Return a histogram of the values that were recorded after `before`, an earlier copy of this one, was made.

        The exact largest of these values is not known: the `max_us` of the result is the upper edge of its bucket, or
        the largest value of this histogram if that is less.
        """
        found = Histogram()
        found.counts = [now - then for now, then in zip(self.counts, before.counts, strict=True)]
        found.total_us = self.total_us - before.total_us
        last = max((bucket for bucket, count in enumerate(found.counts) if count), default=None)
        found.max_us = 0 if last is None else min(self.max_us, self.lowest(last + 1) - 1)
        return found

    def summary(self) -> dict[str, int | float | None]:
        """Return the mean, the PERCENTILES and the maximum, in µs, by the names "mean", "p50", ..., "max". If there are
        no values, each of them is None.
        """
        count = self.count
        summary: dict[str, int | float | None] = {"mean": round(self.total_us / count, 1) if count else None}
        summary |= {f"p{percent:g}": self.percentile(percent) for percent in PERCENTILES}
        summary["max"] = self.max_us if count else None
        return summary
