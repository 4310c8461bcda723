"""Histograms of durations, as the rows of the table of metrics have them."""

from collections.abc import Sequence
from dataclasses import dataclass

from septet.metrics.lanes import BOUNDS_S, BUCKETS, DURATION, DURATION_NS


@dataclass(slots=True, frozen=True)
class Histogram:
    """Numbers of samples by bucket (not cumulative), and the sum of the samples in seconds. The buckets end at
    BOUNDS_S; one more has all longer samples.
    """

    @classmethod
    def of(cls, counts: Sequence[int], sum_s: float) -> "Histogram":
        """Make a histogram. `counts`: the number of samples in each of the BUCKETS buckets of the metrics table."""
        shown = len(BOUNDS_S)
        return cls((*counts[:shown], sum(counts[shown:])), sum_s)

    counts: tuple[int, ...]
    sum_s: float

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """Return the upper bound, in seconds, of the bucket that contains this quantile. None if there are no samples,
        or if it is the last bucket, which has no bound.
        """
        wanted, seen = share * self.count, 0
        bound: float
        for bound, count in zip(BOUNDS_S, self.counts, strict=False):
            seen += count
            if seen and seen >= wanted:
                return bound
        return None

    def less(self, earlier: "Histogram") -> "Histogram":
        """Return the histogram of the samples that came after `earlier`, an older state of this one."""
        counts = tuple(now - before for now, before in zip(self.counts, earlier.counts, strict=True))
        return Histogram(counts, self.sum_s - earlier.sum_s)


def histogram(lanes: memoryview, first: int, sum_lane: int) -> Histogram:
    return Histogram.of(lanes[first : first + BUCKETS].tolist(), lanes[sum_lane] / 1e9)


def durations(lanes: memoryview) -> Histogram:
    """Return the histogram of the durations of all answered requests; while a process was busy, of a sample of them.
    `lanes`: a row of the metrics table, or a sum of rows.
    """
    return histogram(lanes, DURATION, DURATION_NS)
