"""What is measured: which application, under which load, who takes part, and what Septet must reach.

A scenario is an entry of the tuple below and nothing else. Its first contender is Septet under the model that the
budgets speak of. Budgets are ratios to a peer measured in the same run, because the figures themselves belong to the
machine and the hour.
"""

from dataclasses import dataclass

from apps import HELLO, PART, PARTS, received
from contenders import Contender, bjoern, fastpysgi, granian, gunicorn, nginx, septet, uvicorn, waitress

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
IDLE_MEMORY = Metric("idle_kib", "KiB/connection")


@dataclass(frozen=True)
class Budget:
    """Our `metric` divided by the best of `against` must be `ratio` at most (at least, when more is better).

    Without `against`, our figure itself must be `ratio` at most. A `goal` is the measure of later work on speed;
    the others must hold in every version.
    """

    against: tuple[str, ...]
    ratio: float
    metric: Metric = CPU
    goal: bool = False


@dataclass(frozen=True)
class Scenario:
    """One line of work. `answer` is the length of a correct answer's body; `stretch` multiplies the duration."""

    name: str
    title: str
    contenders: tuple[Contender, ...]
    budgets: tuple[Budget, ...]
    answer: int
    app: str = ""  # of apps.py; without one, the files are served
    path: str = "/"
    script: str = "browser.lua"
    connections: int = 64
    stretch: int = 1
    metric: Metric = CPU  # what the table is about and its ratios compare

    def __post_init__(self) -> None:
        """Refuse a budget that could never be judged."""
        names = {contender.name for contender in self.contenders}
        strangers = {name for budget in self.budgets for name in budget.against} - names
        if strangers:
            raise ValueError(f"scenario {self.name} has a budget against {strangers}, who do not take part")


HELLO_LENGTH = len(HELLO)
EPOLL = septet("epoll")
MODELS = (EPOLL, septet("poll"), septet("io_uring"))

SCENARIOS = (
    Scenario(
        "wsgi-hello",
        "WSGI, hello world, 12 browser headers, 64 keep-alive connections",
        (*MODELS, bjoern(), fastpysgi(), granian("wsgi"), gunicorn(threads=4), waitress(threads=4), nginx()),
        (
            Budget(("bjoern",), 14 / 12),
            Budget(("bjoern", "fastpysgi"), 1.0, goal=True),
            Budget(("granian",), 0.6, goal=True),
        ),
        HELLO_LENGTH,
        app="wsgi_hello",
    ),
    Scenario(
        "asgi-hello",
        "ASGI, hello world, 12 browser headers, 64 keep-alive connections",
        (*MODELS, uvicorn(), granian("asgi"), fastpysgi()),
        (
            Budget(("uvicorn",), 0.75),
            Budget(("uvicorn",), 0.55, goal=True),
            Budget(("granian",), 0.85, goal=True),
            Budget(("fastpysgi",), 0.85, goal=True),
        ),
        HELLO_LENGTH,
        app="asgi_hello",
    ),
    Scenario(
        "wsgi-varying",
        "WSGI, hello world, Cookie and X-Request-Id different in each request",
        (EPOLL, bjoern(), fastpysgi()),
        (Budget(("bjoern", "fastpysgi"), 1.25, goal=True),),
        HELLO_LENGTH,
        app="wsgi_hello",
        script="varying.lua",
    ),
    Scenario(
        "wsgi-post",
        "WSGI, 1 KiB of JSON posted and read",
        (EPOLL, bjoern(), fastpysgi(), granian("wsgi")),
        (Budget(("bjoern",), 1.2, goal=True),),
        len(received(0)),
        app="wsgi_post",
        script="post.lua",
    ),
    Scenario(
        "wsgi-close",
        "WSGI, hello world, a connection per request",
        (EPOLL, bjoern(), fastpysgi()),
        (Budget(("bjoern",), 1.1, goal=True),),
        HELLO_LENGTH,
        app="wsgi_hello",
        script="close.lua",
    ),
    Scenario(
        "asgi-close",
        "ASGI, hello world, a connection per request",
        (EPOLL, uvicorn()),
        (Budget(("uvicorn",), 0.5, goal=True),),
        HELLO_LENGTH,
        app="asgi_hello",
        script="close.lua",
    ),
    Scenario(
        "wsgi-stream",
        "WSGI, a stream of 10 parts of 100 bytes",
        (EPOLL, granian("wsgi")),
        (Budget(("granian",), 0.6, goal=True),),
        PARTS * len(PART),
        app="wsgi_stream",
    ),
    Scenario(
        "asgi-stream",
        "ASGI, a stream of 10 parts of 100 bytes",
        (EPOLL, uvicorn(), granian("asgi")),
        (Budget(("uvicorn",), 0.5, goal=True), Budget(("granian",), 0.8, goal=True)),
        PARTS * len(PART),
        app="asgi_stream",
    ),
    Scenario(
        "static-4k",
        "a static file of 4 KiB",
        (EPOLL, nginx()),
        (Budget(("nginx",), 2.0, goal=True),),
        4 * KIB,
        path="/4k.bin",
    ),
    Scenario(
        "static-1m",
        "a static file of 1 MiB",
        (EPOLL, nginx()),
        (Budget(("nginx",), 1.1, goal=True),),
        KIB * KIB,
        path="/1m.bin",
    ),
    Scenario(
        "wsgi-threads",
        "WSGI, hello world, a pool of 8 threads",
        (septet("prethreaded", "--threads", "8"), waitress(threads=8), gunicorn(threads=8)),
        (Budget(("waitress",), 0.35, goal=True),),
        HELLO_LENGTH,
        app="wsgi_hello",
    ),
    Scenario(
        "asgi-crowd",
        "ASGI, hello world, 15,000 keep-alive connections",
        (EPOLL, uvicorn()),
        (
            Budget(("uvicorn",), 3.0, RATE, goal=True),
            Budget(("uvicorn",), 0.5, P99, goal=True),
            Budget((), 0, ERRORS, goal=True),
        ),
        HELLO_LENGTH,
        app="asgi_hello",
        connections=15_000,
        stretch=3,
        metric=RATE,
    ),
    Scenario(
        "asgi-idle",
        "memory of 10,000 idle keep-alive connections, ASGI",
        (EPOLL, uvicorn(), granian("asgi"), nginx()),
        (Budget(("uvicorn",), 0.15, IDLE_MEMORY, goal=True),),
        HELLO_LENGTH,
        app="asgi_hello",
        connections=10_000,
        metric=IDLE_MEMORY,
    ),
)
