"""The classes of which the table of metrics in `septet.lab.metrics` is made: how a metric is sampled, summed up, and
shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from septet.lab import proc
from septet.lab.figures import Figure, Number
from septet.lab.load import ListenQueue
from septet.lab.pinning import Pinning
from septet.lab.statistics import Estimate


class Sight:
    """What the kernel says of a server at the instant of one sample. Each part is read when a metric first
    asks for it.
    """

    def __init__(
        self,
        session: int,
        queue: Callable[[], ListenQueue | None] = lambda: None,
        pinned: Pinning = Pinning(),  # noqa: B008  it is immutable
    ) -> None:
        self._session = session
        self._queue = queue
        self._pinned = pinned

    @cached_property
    def processes(self) -> list[proc.Process]:
        """The processes of the server that is measured, as they were when the sample was taken."""
        return proc.processes_of(self._session)

    @cached_property
    def queue(self) -> ListenQueue | None:
        """The queue of the server's listener; None where the kernel gives no figures."""
        return self._queue()

    @cached_property
    def server_cpus(self) -> tuple[float, float]:
        """Return (busy, stolen) seconds of the CPUs that the server is bound to, or of all CPUs if it is not bound,
        since the machine started. Stolen is the time that the hypervisor gave to others.
        """
        return proc.machine_times(self._pinned.server or None)

    @cached_property
    def client_cpus(self) -> tuple[float, float]:
        """Return (busy, stolen) seconds of the CPUs that the load generator is bound to, or of all CPUs if it is not
        bound, since the machine started. Stolen is the time that the hypervisor gave to others.
        """
        return proc.machine_times(self._pinned.client or None)


class Over(Enum):
    """How the samples that were taken in the measured window become one figure. The value of each member is the text
    that the documentation's table of metrics shows for it.
    """

    PEAK = "the most at one time"
    CHANGE = "end minus beginning of the window"
    LAST = "the last"


@dataclass(frozen=True, slots=True)
class Sampled:
    """How the sampler reads a metric, and how its samples become one figure."""

    read: Callable[[Sight], Number]
    over: Over
    costly: bool = False
    """True if reading takes so long that only some samples do it; see `sampler.COSTLY_EVERY`."""
    unknown: Number = 0
    """The value of the metric in the results if no sample had one."""


@dataclass(frozen=True, slots=True)
class Column:
    """A metric's column in the table that `septet bench` prints."""

    heading: str
    place: int
    """Position among the columns: they are ordered by this number, from the left."""
    form: str = ",.0f"


@dataclass(frozen=True, slots=True)
class Chart:
    """How a metric is drawn."""

    name: str
    """Name of the image files, without suffix, and of the anchor in report.html."""
    title: str
    subject: str = ""
    """What sentences in the report call the metric."""
    bar: int = 0
    """Place of the metric's chart among the bar charts, in which bars compare all servers at one number of users; 0: it
    is not drawn as bars.
    """
    linear: bool = False
    """True if the axis is always linear; else it is logarithmic if the values are far apart."""
    unit_in_title: bool = False
    only_above_0: bool = False
    """True if the chart is drawn only if a value is above 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric: what it is, how it is measured, and where it is shown."""

    key: str
    """The name of the metric as a key: in the summaries of repeated runs, and, if the metric is sampled, in `usage` of
    results.json.
    """
    meaning: str
    unit: str = ""
    """The unit in tables and charts."""
    per_unit: float = 1.0
    """Recorded values are divided by this number to give values in `unit`: 1000 if µs are recorded and ms are shown."""
    more_is_better: bool = False
    sampled: Sampled | None = None
    figure: Figure | None = None
    """A function that computes the metric's value from the record of a run. None: the metric is recorded, but is not
    part of the summaries of repeated runs.
    """
    column: Column | None = None
    compare: str = ""
    """The metric's name for `septet compare --metric`; empty if it cannot be chosen there."""
    compare_by_default: bool = False
    chart: Chart | None = None

    def estimate(self, figures: Mapping[str, Estimate]) -> Estimate | None:
        """Return the metric's median with its interval, in `unit`, for one cell: a server or process model at one
        number of users. `figures` are those of the cell, by key. None if the value is not known, as when all runs
        failed.
        """
        found = figures.get(self.key)
        if found is None:
            return None
        low, high = (None if edge is None else edge / self.per_unit for edge in (found.low, found.high))
        return Estimate(found.median / self.per_unit, low, high)

    @property
    def heading(self) -> str:
        """The title of the metric's chart, with the unit if the title does not name it."""
        assert self.chart is not None, "only metrics with a chart have a heading"
        return self.chart.title if self.chart.unit_in_title else f"{self.chart.title}, {self.unit}"
