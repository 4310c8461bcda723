"""What a row of the metrics is made of (see `septet.lab.metrics`): how it is sampled, summed up, and shown."""

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
    """What one sample sees of a server; read when a metric asks for it."""

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
        """The processes of the server."""
        return proc.processes_of(self._session)

    @cached_property
    def queue(self) -> ListenQueue | None:
        """The queue of the server's listener; None where the kernel gives no figures."""
        return self._queue()

    @cached_property
    def server_cpus(self) -> tuple[float, float]:
        """(busy, stolen) seconds of the CPUs that the server is bound to, of all when it is not bound."""
        return proc.machine_times(self._pinned.server or None)

    @cached_property
    def client_cpus(self) -> tuple[float, float]:
        """The same of the CPUs of the load generator."""
        return proc.machine_times(self._pinned.client or None)


class Over(Enum):
    """How the samples of the measured window become one figure. The value is for the reference."""

    PEAK = "the most at one time"
    CHANGE = "end minus beginning of the window"
    LAST = "the last"


@dataclass(frozen=True, slots=True)
class Sampled:
    """How the sampler reads a metric."""

    read: Callable[[Sight], Number]
    over: Over
    costly: bool = False
    """Whether reading takes so long that not every sample does it."""
    unknown: Number = 0
    """The figure when no sample had one."""


@dataclass(frozen=True, slots=True)
class Column:
    """How a metric stands in the table that `septet bench` prints."""

    heading: str
    place: int
    """Among the columns, from the left."""
    form: str = ",.0f"


@dataclass(frozen=True, slots=True)
class Chart:
    """How a metric is drawn."""

    name: str
    """The name of the files, and of links within the page."""
    title: str
    subject: str = ""
    """What sentences call it."""
    bar: int = 0
    """Its place among the bars for one number of users; 0: no bar."""
    linear: bool = False
    """Whether the axis is linear even where a logarithmic one would show more."""
    unit_in_title: bool = False
    only_above_0: bool = False
    """Whether it is drawn only if some cell has more than 0 of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row."""

    key: str
    """Its name in summaries, and in `usage` when it is sampled."""
    meaning: str
    unit: str = ""
    """The unit that people read."""
    per_unit: float = 1.0
    """How many of the recorded units make one of `unit`."""
    more_is_better: bool = False
    sampled: Sampled | None = None
    figure: Figure | None = None
    """Its value in a run; None: it is recorded and not summed up."""
    column: Column | None = None
    compare: str = ""
    """Its name for `--metric`, when it has one."""
    compare_by_default: bool = False
    chart: Chart | None = None

    def estimate(self, figures: Mapping[str, Estimate]) -> Estimate | None:
        """Its estimate in `unit`, from the figures of a cell; None where it is not known, as in a cell that failed."""
        found = figures.get(self.key)
        if found is None:
            return None
        low, high = (None if edge is None else edge / self.per_unit for edge in (found.low, found.high))
        return Estimate(found.median / self.per_unit, low, high)

    @property
    def heading(self) -> str:
        """The title of its chart, with the unit where the title does not name it."""
        assert self.chart is not None, "only metrics with a chart have a heading"
        return self.chart.title if self.chart.unit_in_title else f"{self.chart.title}, {self.unit}"
