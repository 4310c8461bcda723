"""What a scenario is: one line of work for servers, the figures that count, and the ratios that are wanted.

`scenarios.py` lists them.
"""

from dataclasses import dataclass

from contenders import Contender

KIB = 1024


@dataclass(frozen=True)
class Metric:
    """A figure of a block: its key in the results, its heading, and whether more of it is better."""

    key: str
    heading: str
    more_is_better: bool = False


CPU = Metric("cpu_us", "CPU µs/request")
RATE = Metric("requests_per_s", "requests/s", more_is_better=True)
P99 = Metric("p99_ms", "p99 ms")
ERRORS = Metric("errors", "errors")
QUICK_P99 = Metric("p99_ms", "quick p99 ms")
IDLE_MEMORY = Metric("idle_kib", "KiB/connection")


@dataclass(frozen=True)
class Budget:
    """Our `metric` divided by the best of `against` must be `ratio` at most (at least, when more is better).

    Without `against`, our figure itself must be `ratio` at most. A `goal` is the measure of later work on speed;
    the others must hold in every version. `of` names the contender that is ours, when it is not the first.
    """

    against: tuple[str, ...]
    ratio: float
    metric: Metric = CPU
    goal: bool = False
    of: str = ""


@dataclass(frozen=True)
class Mix:
    """Requests of several kinds, sent by Septet's load generator, which counts the latencies of each kind apart.

    `file` is a scenario of `septet load`; what is reported are the latencies of its target `quick`. With `rate`,
    requests are due at fixed instants and their latency counts from there; without, each connection asks again when
    it has its answer.
    """

    file: str
    rate: int | None = None


@dataclass(frozen=True)
class Scenario:
    """One line of work."""

    name: str
    title: str
    contenders: tuple[Contender, ...]
    budgets: tuple[Budget, ...]
    answer: bytes
    """The body of a correct answer."""
    app: str = ""
    """MODULE:NAME of a module in this directory; without one, the files are served."""
    packages: tuple[str, ...] = ()
    """What the application imports from the Python index."""
    prepare: str = ""
    """A script in this directory that is run once before the servers, with the directory for the files as argument."""
    path: str = "/"
    posted: bytes = b""
    """A body that is sent when the answer is checked; the script sends its own."""
    script: str = "browser.lua"
    """Of wrk, which makes the load unless there is a `mix`."""
    mix: Mix | None = None
    websocket: bool = False
    """Messages that the application echoes, on WebSockets; `septet load` makes the load."""
    http2: bool = False
    """HTTP/2 in clear, with 10 streams on each connection; h2load makes the load."""
    tls: bool = False
    """TLS 1.3, with an ECDSA key on P-256. wrk resumes no session."""
    connections: int = 64
    stretch: int = 1
    """Multiplies the duration."""
    metric: Metric = CPU
    """What the table is about and its ratios compare."""

    def __post_init__(self) -> None:
        """Refuse a budget that could never be judged."""
        names = {contender.name for contender in self.contenders}
        strangers = {name for budget in self.budgets for name in (*budget.against, budget.of) if name} - names
        if strangers:
            raise ValueError(f"scenario {self.name} has a budget against {strangers}, who do not take part")
