"""The plan of a run of the load generator."""

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
    """Sent as UTF-8; surrogate escapes stand for other bytes (PEP 383)."""
    weight: int = 1
    """How often the target is requested, in proportion to the weights of the other targets."""
    name: str = ""
    """Name of the target in the figures; "": "METHOD PATH"."""
    status: int | None = None
    """Status of a right answer; None: 200 to 399."""
    expect_length: int | None = None
    """Number of bytes in the body of a right answer, or ANY_LENGTH. None: that of the first two answers, or any if they
    differ.
    """
    expect_text: str = ""
    """Text that the body of a right answer contains; "": any body."""
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
    """Simultaneous users; in an open loop the most requests under way at one time."""
    rate: float | None = None
    """Requests due in a second (an open loop); None: each user sends the next after the answer (a closed loop)."""
    duration_s: float = 5.0
    """The length of the measured window in seconds."""
    warmup_s: float = 1.0
    """Least seconds of warm-up, from when all users have arrived; what happens in them is not counted."""
    warmup_max_s: float = 0.0
    """If more than warmup_s: the warm-up goes on until the rate of answers is steady, but at most for so
    many seconds.
    """
    arrival_max_s: float = 30.0
    """Seconds after which the warm-up begins (the ramp not counted), even if some users have not had a first answer;
    these go on trying.
    """
    arrivals: str = "uniform"
    """How the requests of a rate are spread: "uniform" at even intervals, "poisson" at random, as visitors come who do
    not know of each other."""
    ramp_s: float = 0.0
    """Seconds in which the load grows evenly from nothing to all users, or to the whole rate, before the warm-up. They
    are not counted."""
    think_s: float = 0.0
    """Seconds that a user of a closed loop waits between an answer and the next request; with exponential `think_times`
    their mean.
    """
    think_times: str = "constant"
    """How think times are chosen: "constant" for `think_s` each time, or "exponential" for a random one each time."""
    slow: int = 0
    """Number of slow clients beside the users; each sends and reads `slow_rate` bytes a second. Their answers and
    errors are counted separately.
    """
    slow_rate: int = 1024
    """Bytes per second at which a slow client sends and reads."""
    mode: str = "keep-alive"
    requests_per_connection: int = 0
    """Requests after which a user takes a new connection, in mode keep-alive; 0: as many as the server allows. Over
    HTTP/2 they are counted on the connection, over all its streams."""
    streams: int = 0
    """Over HTTP/2: users that share a connection, each of which is one stream of it at a time; 0: HTTP/1.1, where each
    user has a connection of its own."""
    timeout_s: float = 10.0
    """Seconds that a request may take at most, connecting included; one that takes longer counts as an error."""
    method: str = "GET"
    headers: tuple[str, ...] = ()
    """Header fields that are sent with every request, each as NAME: VALUE."""
    body: str = ""
    expect_length: int | None = None
    targets: tuple[Target, ...] = ()
    """The requests; empty: one target, the path of the URL with `method`, `body` and `expect_length`."""
    binary: bool = False
    """On a WebSocket (ws or wss in the URL): True if messages are binary. The message is `body`, or `message_size`
    bytes.
    """
    message_size: int = 32
    cookies: bool = False
    """True if users send back the cookies that they are given."""
    cpus: tuple[int, ...] = ()
    """One process runs on each of these CPUs; empty: one process on any CPU."""
    insecure: bool = False
    """True if the server's certificate is not checked."""
    ca: str = ""
    """Certificates, in PEM, of the authorities that are trusted; "" for those of the system."""
    overflow: bool = False
    """True: the run is carried out even if users may overflow the listen queue by connecting for every request. False:
    that raises LoadError.
    """
    seconds: bool = False
    """True if the event "second" reports once a second what was counted in it; see the module
    `septet.lab.load.seconds`.
    """
    visits: int = 0
    """Most requests of each process whose times (when they began and were answered) are recorded, from the beginning of
    the measured window on; see the module `septet.lab.load.visits`. Only in a closed loop over HTTP/1.1 without think
    time.
    """
    first_user: int = 0
    """Number of the first user of this process, for `{user}` in requests."""
    processes: int = 1
    """Number of processes that carry out the whole plan; this object is the part of one of them."""
    processes_here: int = 1
    """Number of the processes of the whole plan that run on this machine and share its ports."""

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
        """Name of the protocol: that of a WebSocket, or of a version of HTTP."""
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
        """Return the part of the plan for process `index` (from 0) of `of` processes: its users, its part of the rate,
        its CPU.

        Users who share a connection (HTTP/2) are in one process. `here` is the number of these processes that run on
        the same machine; None: all. Raises LoadError for fewer users, or connections, than processes.
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
    """Return the text of a file for `Plan.ca`. Raises LoadError if it cannot be read."""
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
    """Return the headers of `general` and `special`; one in `special` replaces all of its name in `general`."""
    names = {header.partition(":")[0].lower() for header in special}
    return (*(header for header in general if header.partition(":")[0].lower() not in names), *special)
