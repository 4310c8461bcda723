"""The plan of a run of the load generator: which server to load with which requests, by how many users or at which
rate, and for how long.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
MODES = ("keep-alive", "close", "http10")
ARRIVALS = ("uniform", "poisson")
THINK_TIMES = ("constant", "exponential")
ANY_LENGTH = -1
USER_PLACEHOLDER = "{user}"
"""Replaced by the number of the user in paths, headers and bodies."""
UNIX = "unix:"
HTTP1_ONLY = frozenset(("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"))
"""Header fields that HTTP/2 forbids (RFC 9113 section 8.2.2)."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class LoadError(Exception):
    """The plan cannot be carried out; the message says why and what to change."""


class NoListener(LoadError):
    """There is no server at the URL: the first connection was refused."""


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of request. `{user}` in its path, headers or body stands for the number of the user who sends it."""

    path: str = "/"
    """The path and the query, as in the request line."""
    method: str = "GET"
    headers: tuple[str, ...] = ()
    body: str = ""
    """Body of the request, which is sent as UTF-8. Surrogate escapes in it stand for bytes that are not UTF-8 (PEP
    383).
    """
    weight: int = 1
    """How often the target is requested, in proportion to the weights of the other targets."""
    name: str = ""
    """Name of the target in the figures. If it is empty, the figures name the target by its method and path."""
    status: int | None = None
    """HTTP status that an answer must have to be right; any other counts as an error. None: every status from 200 to
    399 is right.
    """
    expect_length: int | None = None
    """Number of bytes that the body of a right answer has; ANY_LENGTH: any number. None: the number is taken from the
    first two answers: all others must have the same, or, if these two differ, may have any.
    """
    expect_text: str = ""
    """Text that the body of an answer must contain; otherwise the answer counts as an error. "": the text is not
    checked.
    """
    same_body: bool = False
    """True if the body of every right answer must equal that of the first one, byte by byte."""

    def __post_init__(self) -> None:
        if self.weight < 1:
            raise LoadError(f"the weight of {self.title} is not a whole number above 0")
        if not self.path.startswith("/"):
            raise LoadError(f"the path {self.path!r} does not begin with /")
        check_headers(self.headers)

    @property
    def title(self) -> str:
        return self.name or f"{self.method} {self.path}"

    @property
    def idempotent(self) -> bool:
        """True if a client may repeat the request automatically (RFC 9110 section 9.2.2)."""
        return self.method not in ("POST", "PATCH")


@dataclass(frozen=True)
class Plan:
    """The parameters of a run of the load generator. Raises LoadError when a value is out of range."""

    url: str
    users: int = 50
    """Number of simultaneous users, each of whom has at most one request under way. With a `rate` that is the largest
    number of requests under way at one time.
    """
    rate: float | None = None
    """Requests that become due in a second, whether or not earlier ones have an answer (an open loop). None: each user
    sends its next request when it has the answer to the last one (a closed loop).
    """
    duration_s: float = 5.0
    """The length of the measured window in seconds."""
    warmup_s: float = 1.0
    """The shortest warm-up, in seconds; it begins when all users have had a first answer. What happens in the warm-up
    is not counted in the figures.
    """
    warmup_max_s: float = 0.0
    """The longest warm-up, in seconds. If this is more than `warmup_s`, the warm-up goes on until the rate of answers
    is steady, but no longer than this.
    """
    arrival_max_s: float = 30.0
    """The warm-up begins after this many seconds, plus those of the ramp (`ramp_s`), even if some users have not had a
    first answer yet. These users go on trying.
    """
    arrivals: str = "uniform"
    """How requests are spread over time if there is a `rate`: "uniform" at even intervals, "poisson" at random, as
    visitors come who do not know of each other.
    """
    ramp_s: float = 0.0
    """Seconds in which the load grows evenly, before the seconds of the warm-up begin: from no user to all users, or,
    if there is a `rate`, from no request to that rate. What happens in this time is not counted in the figures.
    """
    think_s: float = 0.0
    """Seconds that a user of a closed loop (a plan without a rate) waits between an answer and its next request. If
    `think_times` is "exponential", this is the mean of random times.
    """
    think_times: str = "constant"
    """How long users wait before their next request: "constant": `think_s` seconds each time; "exponential": a random
    time each time, from an exponential distribution with the mean `think_s`.
    """
    slow: int = 0
    """Number of slow clients beside the users; each sends and reads `slow_rate` bytes a second. Their answers and
    errors are counted separately.
    """
    slow_rate: int = 1024
    """Bytes per second at which a slow client sends and reads."""
    mode: str = "keep-alive"
    requests_per_connection: int = 0
    """Number of requests after which a user closes its connection and opens a new one; 0: it keeps the connection for
    as long as the server does. Only for `mode` "keep-alive". Over HTTP/2 the requests of all users of a shared
    connection count.
    """
    streams: int = 0
    """Number of users that share one HTTP/2 connection; each user has one stream of it at a time. 0: HTTP/1.1, where
    each user has a connection of its own.
    """
    timeout_s: float = 10.0
    """Seconds that a request may take at most, including the time to connect. A request that takes longer is given up
    and counts as an error.
    """
    method: str = "GET"
    headers: tuple[str, ...] = ()
    """Header fields that are sent with every request, each as NAME: VALUE."""
    body: str = ""
    expect_length: int | None = None
    targets: tuple[Target, ...] = ()
    """The kinds of requests that users send. If it is empty, there is one kind: the path of `url` with `method`, `body`
    and `expect_length`.
    """
    binary: bool = False
    """For a WebSocket (ws or wss in `url`): True if messages are binary, not text. The content of each message is
    `body`, or, if that is empty, `message_size` times the letter x.
    """
    message_size: int = 32
    cookies: bool = False
    """True if users send back the cookies that they are given."""
    cpus: tuple[int, ...] = ()
    """CPUs to run on: there is one process of the load generator on each of them. Empty: one process, on any CPU."""
    insecure: bool = False
    """True if the server's certificate is not checked."""
    ca: str = ""
    """The certificates of the authorities to trust, as text in PEM; "": those that the system trusts."""
    overflow: bool = False
    """For users who open a new connection for every request, which may overflow the server's listen queue. True: the
    plan is carried out in any case. False: LoadError is raised if the queue is too short for the users.
    """
    seconds: bool = False
    """True if the load generator reports once a second what was counted in that second, as the event "second" (see the
    module `septet.lab.load.seconds`).
    """
    visits: int = 0
    """How many requests each process records with the instants at which they began and were answered: the first ones
    whose answers come in the measured window (see the module `septet.lab.load.visits`). Only for plans over HTTP/1.1
    and TCP, without a rate and without think time.
    """
    first_user: int = 0
    """Number of the first user that this process plays; its others have the following numbers. A user's number replaces
    `{user}` in requests.
    """
    processes: int = 1
    """Number of processes that carry out the whole plan together. This object is the part of the plan that one of them
    carries out.
    """
    processes_here: int = 1
    """Number of the processes of the whole plan that run on this machine, and so share its local ports."""

    def __post_init__(self) -> None:
        for what, value, known in (
            ("mode", self.mode, MODES),
            ("arrivals", self.arrivals, ARRIVALS),
            ("think times", self.think_times, THINK_TIMES),
        ):
            if value not in known:
                raise LoadError(f"{what} {value!r} is not one of {', '.join(known)}")
        if self.users < 1 or self.duration_s <= 0 or self.timeout_s <= 0 or self.warmup_s < 0:
            raise LoadError("users, duration and time-out must be more than 0, the warm-up at least 0")
        if self.rate is not None and self.rate <= 0:
            raise LoadError("the rate must be more than 0")
        if self.requests_per_connection < 0 or (self.requests_per_connection and self.mode != "keep-alive"):
            raise LoadError("requests per connection must be at least 1, and go with kept connections only")
        if self.streams < 0:
            raise LoadError("streams must be at least 0")
        if len(self.cpus) > self.connections:
            raise LoadError(f"{self._size} cannot be spread over {len(self.cpus)} CPUs")
        check_headers(self.headers)
        self._check_shape()
        if self.websocket and (self.mode != "keep-alive" or self.targets or self.cookies):
            raise LoadError("users of WebSockets keep their connections, have one path, no scenario and no cookies")
        if self.streams:
            self._check_http2()

    def _check_http2(self) -> None:
        """Raise LoadError if the plan has something that cannot be loaded over HTTP/2: a WebSocket, a new connection
        for each request, slow clients, or header fields that HTTP/2 forbids.
        """
        if self.websocket:
            raise LoadError("WebSockets are loaded over HTTP/1.1, so without --http2")
        if self.mode != "keep-alive":
            raise LoadError(f"over HTTP/2 connections are kept: without --{self.mode}, or with --per-connection N")
        if self.slow:
            raise LoadError("slow clients (--slow) speak HTTP/1.1, so not with --http2")
        for headers in (self.headers, *(target.headers for target in self.targets)):
            for header in headers:
                name, _, value = header.partition(":")
                if name.lower() in HTTP1_ONLY or (name.lower() == "te" and value.strip().lower() != "trailers"):
                    raise LoadError(
                        f"the header {header!r} is one of HTTP/1.1: HTTP/2 forbids it (RFC 9113 section 8.2.2)"
                    )

    def _check_shape(self) -> None:
        """Raise LoadError where arrivals, ramp, think times and slow clients are out of range or do not go together."""
        if self.ramp_s < 0 or self.think_s < 0 or self.slow < 0 or self.slow_rate < 1:
            raise LoadError("ramp, think time and slow clients must be at least 0, the slow rate at least 1 byte/s")
        if self.rate is None and self.arrivals != "uniform":
            raise LoadError("arrivals are those of a rate: without one each user sends after the answer")
        if self.rate is not None and self.think_s:
            raise LoadError("with a rate requests come at its pace, so users have no think time")
        elsewhere = self.websocket or self.url.startswith(UNIX)
        if self.visits and (elsewhere or self.rate is not None or self.think_s):
            raise LoadError("visits are recorded of users who send the next HTTP request at once, over TCP")
        if self.slow and self.websocket:
            raise LoadError("slow clients send HTTP requests, so not to a WebSocket")

    @property
    def websocket(self) -> bool:
        """True if requests are messages on a WebSocket."""
        return self.url.startswith(("ws://", "wss://"))

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Plan:
        """Rebuild a plan from the result of its method `values`, also after that was stored as JSON."""
        targets = tuple(Target(**{**each, "headers": tuple(each["headers"])}) for each in values["targets"])
        tuples = {name: tuple(values[name]) for name in ("headers", "cpus")}
        return cls(**{**values, **tuples, "targets": targets})

    def values(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @property
    def connections(self) -> int:
        """Number of connections of all users."""
        return -(-self.users // max(1, self.streams))

    @property
    def _size(self) -> str:
        return f"{self.users} users" + (f", {self.streams} of whom share a connection," if self.streams else "")

    @property
    def protocol(self) -> str:
        """Name of the protocol that users speak: "WebSocket", "HTTP/1.0", "HTTP/1.1" or "HTTP/2"."""
        if self.streams:
            return "HTTP/2"
        return "WebSocket" if self.websocket else "HTTP/1.0" if self.mode == "http10" else "HTTP/1.1"

    @property
    def limit_per_connection(self) -> int:
        """Number of requests after which a user opens a new connection; 0: never."""
        if self.mode != "keep-alive" or all(map(self.closes, self.all_targets())):
            return 1
        return self.requests_per_connection

    def closes(self, target: Target) -> bool:
        """True if the plan has a header "Connection: close" for this target."""
        headers = named(merged(self.headers, target.headers), "connection")
        return any("close" in [option.strip().lower() for option in value.split(",")] for value in headers)

    def share(self, index: int, of: int, here: int | None = None) -> Plan:
        """Return the part of the plan for process `index` (from 0) of `of` processes: its part of the users and of the
        rate, and the CPU that it runs on.

        All users of a shared connection (HTTP/2) are in the same process. `here` is the number of these processes that
        run on the same machine; None: all. Raises LoadError if there are fewer users than processes, or, over HTTP/2,
        fewer connections.
        """
        whole, shared = self.connections, max(1, self.streams)
        if of > whole:
            raise LoadError(f"{self._size} cannot be spread over {of} processes")
        begin = index * (whole // of) + min(index, whole % of)
        end = begin + whole // of + (index < whole % of)
        return dataclasses.replace(
            self,
            users=min(end * shared, self.users) - begin * shared,
            rate=None if self.rate is None else self.rate / of,
            slow=self.slow // of + (index < self.slow % of),
            cpus=(self.cpus[index % len(self.cpus)],) if self.cpus else (),
            first_user=begin * shared,
            processes=of,
            processes_here=of if here is None else here,
        )

    def all_targets(self) -> tuple[Target, ...]:
        """Return `targets`; if there are none, one target with the path of the URL and the method and body
        of the plan.
        """
        if self.targets:
            return self.targets
        url, _ = split(self.url)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        if self.websocket:
            return (Target(path=path, status=101, expect_length=self.expect_length, name=f"WebSocket {path}"),)
        return (Target(path=path, method=self.method, body=self.body, expect_length=self.expect_length),)


def split(text: str) -> tuple[SplitResult, int]:
    """Parse a URL of the form http[s]://, ws[s]:// or unix:, and return its parts and its port. For a unix socket the
    host is localhost. Raises LoadError for other texts.
    """
    if text.startswith(UNIX):
        text = "http://localhost" + (_split_unix(text)[1] or "/")
    try:
        url = urlsplit(text)
        port = url.port or PORTS.get(url.scheme, 0)
    except ValueError as error:
        raise LoadError(f"URL {text!r}: {error}") from None
    if url.scheme not in PORTS or not url.hostname:
        raise LoadError(
            f"URL {text!r} is not of the form http[s]://HOST[:PORT]/PATH, ws[s]://... or unix:SOCKET[:/PATH]"
        )
    return url, port


def read_authorities(path: Path) -> str:
    """Return the text of a file that has certificates of authorities to trust, for `Plan.ca`. Raises LoadError if the
    file cannot be read.
    """
    try:
        return path.read_text("utf-8", "replace")
    except OSError as error:
        raise LoadError(f"the certificates {path} cannot be read: {error.strerror}") from None


def socket_path(text: str) -> str | None:
    """Return the path of the unix socket that a URL names, `@NAME` for an abstract one; None for other URLs."""
    return _split_unix(text)[0] if text.startswith(UNIX) else None


def _split_unix(text: str) -> tuple[str, str]:
    """Split `unix:/run/app.sock:/path?query`, as nginx writes it, into the path of the socket and that of the request.

    The path of the request may be missing, and is "" then.
    """
    path, colon, target = text.removeprefix(UNIX).partition(":/")
    if not path or "\0" in path or len(path.encode()) > 107:
        raise LoadError(f"URL {text!r} is not of the form unix:SOCKET[:/PATH] with a path of 1 to 107 bytes")
    return path, "/" + target if colon else ""


def check_headers(headers: tuple[str, ...]) -> None:
    """Raise LoadError for a text that is not of the form NAME: VALUE."""
    for header in headers:
        name, colon, _ = header.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise LoadError(f"the header {header!r} is not of the form 'NAME: VALUE'")


def named(headers: tuple[str, ...], name: str) -> list[str]:
    """Return the values of the headers with this name; `name` must be in lower case."""
    return [value.strip() for key, _, value in (header.partition(":") for header in headers) if key.lower() == name]


def merged(general: tuple[str, ...], special: tuple[str, ...]) -> tuple[str, ...]:
    """Return the headers of `general` and `special` together, each as NAME: VALUE. A header in `special` replaces all
    headers of the same name in `general`.
    """
    names = {header.partition(":")[0].lower() for header in special}
    return (*(header for header in general if header.partition(":")[0].lower() not in names), *special)
