"""What is measured: which application, under which load, who takes part, and what Septet must reach.

A scenario is an entry of the tuple below and nothing else. Its first contender is Septet under the model that the
budgets speak of, unless one of them names another. Budgets are ratios to a peer measured in the same run, because the
figures themselves belong to the machine and the hour.
"""

from dataclasses import dataclass

from apps import HELLO, PART, PARTS, REMARKS, file_content, page, received
from contenders import (
    Contender,
    bjoern,
    fastpysgi,
    granian,
    gunicorn,
    gunicorn_asgi,
    hypercorn,
    nginx,
    septet,
    uvicorn,
    waitress,
)

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


EPOLL = septet("epoll")
ON_LOOP = septet("epoll", "--threads", "0")
MODELS = (EPOLL, septet("poll"), septet("io_uring"))
THREADS = 8
POSTED = b"x" * KIB  # as long as what wrk/post.lua sends


def peers(threads: int) -> tuple[Contender, ...]:
    """Servers that run a WSGI application in threads, with as many of them as Septet. granian also as it comes."""
    return gunicorn(threads), waitress(threads), granian("wsgi", threads), granian("wsgi")


WAYS = (EPOLL, septet("epoll", "--threads", str(THREADS)), ON_LOOP, septet("prethreaded", "--threads", str(THREADS)))
PEERS = peers(THREADS)
GTHREAD, _, GRANIAN, GRANIAN_AS_IT_COMES = (peer.name for peer in PEERS)
FRAMEWORK_GOALS = (
    Budget((GRANIAN, GRANIAN_AS_IT_COMES), 1.1, goal=True),
    Budget((GTHREAD,), 0.5, goal=True),
)

SCENARIOS = (
    Scenario(
        "wsgi-hello",
        "WSGI, hello world, 12 browser headers, 64 keep-alive connections",
        (*MODELS, ON_LOOP, bjoern(), fastpysgi(), granian("wsgi"), gunicorn(threads=4), waitress(threads=4), nginx()),
        (
            Budget(("bjoern",), 14 / 12, of=ON_LOOP.name),
            Budget(("bjoern", "fastpysgi"), 1.0, goal=True, of=ON_LOOP.name),
            Budget(("granian",), 0.6, goal=True),
        ),
        HELLO,
        app="apps:wsgi_hello",
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
        HELLO,
        app="apps:asgi_hello",
    ),
    Scenario(
        "tls-hello",
        "ASGI over TLS, hello world, 12 browser headers, 64 keep-alive connections",
        (EPOLL, septet("io_uring"), uvicorn(), granian("asgi"), nginx()),
        (Budget(("uvicorn",), 0.6), Budget(("granian",), 1.0)),
        HELLO,
        app="apps:asgi_hello",
        tls=True,
    ),
    Scenario(
        "tls-close",
        "ASGI over TLS, hello world, 64 clients with a connection and a full handshake for each request",
        (EPOLL, uvicorn(), granian("asgi"), nginx()),
        (Budget(("nginx",), 1 / 0.9),),
        HELLO,
        app="apps:asgi_hello",
        script="close.lua",
        tls=True,
    ),
    Scenario(
        "ws-echo",
        "ASGI, WebSocket, text of 32 bytes echoed, not compressed, 64 connections; a request is a message",
        (EPOLL, septet("io_uring"), uvicorn(), granian("asgi"), gunicorn_asgi()),
        (
            Budget(("uvicorn",), 0.9),
            Budget(("uvicorn",), 0.6, goal=True),
            Budget(("granian",), 0.6),
        ),
        HELLO,
        app="apps:asgi_echo",
        packages=("websockets",),
        websocket=True,
    ),
    Scenario(
        "h2-hello",
        "ASGI over HTTP/2, hello world, 64 connections with 10 streams each",
        (EPOLL, septet("io_uring"), hypercorn(), granian("asgi"), nginx()),
        (Budget(("hypercorn",), 0.5),),
        HELLO,
        app="apps:asgi_hello",
        packages=("h2",),
        http2=True,
    ),
    Scenario(
        "h2-wsgi",
        "WSGI over HTTP/2, hello world, 64 connections with 10 streams each",
        (EPOLL, ON_LOOP, granian("wsgi"), nginx()),
        (),
        HELLO,
        app="apps:wsgi_hello",
        packages=("h2",),
        http2=True,
    ),
    Scenario(
        "h2-post",
        "WSGI over HTTP/2, 1 KiB posted and read, 64 connections with 10 streams each",
        (EPOLL, ON_LOOP, granian("wsgi")),
        (),
        received(len(POSTED)),
        app="apps:wsgi_post",
        packages=("h2",),
        posted=POSTED,
        http2=True,
    ),
    Scenario(
        "h2-static-1m",
        "a static file of 1 MiB over HTTP/2, 64 connections with 10 streams each",
        (EPOLL, nginx()),
        (),
        file_content(KIB * KIB),
        packages=("h2",),
        path="/1m.bin",
        http2=True,
    ),
    Scenario(
        "wsgi-varying",
        "WSGI, hello world, Cookie and X-Request-Id different in each request",
        (*WAYS, bjoern(), fastpysgi(), *PEERS),
        (
            Budget((ON_LOOP.name,), 1.2, goal=True),
            Budget(("bjoern", "fastpysgi"), 1.25, goal=True, of=ON_LOOP.name),
        ),
        HELLO,
        app="apps:wsgi_hello",
        script="varying.lua",
    ),
    Scenario(
        "flask",
        "Flask, a small page, Cookie and X-Request-Id different in each request",
        (*WAYS, bjoern(), *PEERS),
        FRAMEWORK_GOALS,
        page("Hello", "Ada").encode(),
        app="flask_app:app",
        packages=("flask",),
        path="/hello/Ada",
        script="varying.lua",
    ),
    Scenario(
        "django",
        "Django, a page of one row from SQLite, Cookie and X-Request-Id different in each request",
        (*WAYS, bjoern(), *PEERS),
        FRAMEWORK_GOALS,
        page(*REMARKS[6]).encode(),
        app="django_site:app",
        packages=("django",),
        prepare="django_site.py",
        path="/remarks/7",
        script="varying.lua",
    ),
    Scenario(
        "mixed",
        "WSGI, 300 requests/s by 12 users, every tenth for a page that sleeps 50 ms: latency of the others",
        (*WAYS, *PEERS),
        (Budget((), 5.0, QUICK_P99, goal=True),),
        HELLO,
        app="apps:wsgi_mixed",
        mix=Mix("mixed.toml", rate=300),
        connections=12,
        metric=QUICK_P99,
    ),
    Scenario(
        "mixed-closed",
        "WSGI, 12 users without a pause, every tenth request sleeps 50 ms; 16 threads: latency of the others",
        (septet("epoll", "--threads", "16"), EPOLL, septet("prethreaded", "--threads", "16"), *peers(16)),
        (Budget((), 5.0, QUICK_P99, goal=True),),
        HELLO,
        app="apps:wsgi_mixed",
        mix=Mix("mixed.toml"),
        connections=12,
        metric=QUICK_P99,
    ),
    Scenario(
        "wsgi-post",
        "WSGI, 1 KiB of JSON posted and read",
        (EPOLL, ON_LOOP, bjoern(), fastpysgi(), granian("wsgi")),
        (Budget(("bjoern",), 1.2, goal=True, of=ON_LOOP.name),),
        received(len(POSTED)),
        app="apps:wsgi_post",
        posted=POSTED,
        script="post.lua",
    ),
    Scenario(
        "wsgi-close",
        "WSGI, hello world, a connection per request",
        (EPOLL, ON_LOOP, bjoern(), fastpysgi()),
        (Budget(("bjoern",), 1.1, goal=True, of=ON_LOOP.name),),
        HELLO,
        app="apps:wsgi_hello",
        script="close.lua",
    ),
    Scenario(
        "asgi-close",
        "ASGI, hello world, a connection per request",
        (EPOLL, uvicorn()),
        (Budget(("uvicorn",), 0.5, goal=True),),
        HELLO,
        app="apps:asgi_hello",
        script="close.lua",
    ),
    Scenario(
        "wsgi-stream",
        "WSGI, a stream of 10 parts of 100 bytes",
        (EPOLL, granian("wsgi")),
        (Budget(("granian",), 0.6, goal=True),),
        PARTS * PART,
        app="apps:wsgi_stream",
    ),
    Scenario(
        "asgi-stream",
        "ASGI, a stream of 10 parts of 100 bytes",
        (EPOLL, uvicorn(), granian("asgi")),
        (Budget(("uvicorn",), 0.5, goal=True), Budget(("granian",), 0.8, goal=True)),
        PARTS * PART,
        app="apps:asgi_stream",
    ),
    Scenario(
        "static-4k",
        "a static file of 4 KiB",
        (EPOLL, nginx()),
        (Budget(("nginx",), 2.0, goal=True),),
        file_content(4 * KIB),
        path="/4k.bin",
    ),
    Scenario(
        "static-1m",
        "a static file of 1 MiB",
        (EPOLL, nginx()),
        (Budget(("nginx",), 1.1, goal=True),),
        file_content(KIB * KIB),
        path="/1m.bin",
    ),
    Scenario(
        "wsgi-threads",
        "WSGI, hello world, a pool of 8 threads",
        (septet("prethreaded", "--threads", "8"), waitress(threads=8), gunicorn(threads=8)),
        (Budget(("waitress --threads 8",), 0.35, goal=True),),
        HELLO,
        app="apps:wsgi_hello",
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
        HELLO,
        app="apps:asgi_hello",
        connections=15_000,
        stretch=3,
        metric=RATE,
    ),
    Scenario(
        "asgi-idle",
        "memory of 10,000 idle keep-alive connections, ASGI",
        (EPOLL, uvicorn(), granian("asgi"), nginx()),
        (Budget(("uvicorn",), 0.15, IDLE_MEMORY, goal=True),),
        HELLO,
        app="apps:asgi_hello",
        connections=10_000,
        metric=IDLE_MEMORY,
    ),
    Scenario(
        "tls-idle",
        "memory of 2,000 idle keep-alive connections over TLS, ASGI",
        (EPOLL, uvicorn(), granian("asgi"), nginx()),
        (Budget(("uvicorn",), 0.5, IDLE_MEMORY, goal=True),),
        HELLO,
        app="apps:asgi_hello",
        tls=True,
        connections=2_000,
        metric=IDLE_MEMORY,
    ),
)
