"""What a run of the load generator shall do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

MODES = ("keep-alive", "close", "http10")
ANY_LENGTH = -1


class LoadError(Exception):
    """The plan cannot be carried out; one sentence says why and what to change."""


class NobodyListens(LoadError):
    """The plan was right, but there is no server: the first connection of all was refused."""


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of request. `{user}` in its path, headers or body stands for the number of the user who sends it."""

    path: str = "/"  # with the query
    method: str = "GET"
    headers: tuple[str, ...] = ()
    body: str = ""  # sent as UTF-8; other bytes as surrogate escapes (PEP 383)
    weight: int = 1  # of all the weights: how often it is sent
    name: str = ""  # in the figures; "" for METHOD PATH
    status: int | None = None  # of a right answer; None: 200 to 399
    expect_length: int | None = None  # bytes of the right body; None: as in the first answer; ANY_LENGTH
    expect_text: str = ""  # which a right body holds
    same_body: bool = False  # a right body equals the first one, byte by byte

    def __post_init__(self) -> None:
        if self.weight < 1:
            raise LoadError(f"the weight of {self.title} is not a whole number above 0")
        if not self.path.startswith("/"):
            raise LoadError(f"the path {self.path!r} does not begin with /")

    @property
    def title(self) -> str:
        return self.name or f"{self.method} {self.path}"

    @property
    def idempotent(self) -> bool:
        """Whether a client may repeat it by itself (RFC 9110 section 9.2.2)."""
        return self.method not in ("POST", "PATCH")


@dataclass(frozen=True)
class Plan:
    """What to do. Times are in seconds, lengths in bytes; LoadError when a value is out of range."""

    url: str
    users: int = 50  # in an open loop: the most requests under way at one time
    rate: float | None = None  # requests due in a second (an open loop); None: at once after the answer (closed)
    duration_s: float = 5.0
    warmup_s: float = 1.0  # at least, after the users have arrived; not counted
    warmup_max_s: float = 0.0  # more than warmup_s: until the rate is steady, but no longer than this
    mode: str = "keep-alive"
    requests_per_connection: int = 0  # 0: as many as the server lets; with keep-alive only
    timeout_s: float = 10.0  # for one request, connecting included
    method: str = "GET"
    headers: tuple[str, ...] = ()  # of every request
    body: str = ""
    expect_length: int | None = None
    targets: tuple[Target, ...] = ()  # instead of the URL's path, the method and the body
    cookies: bool = False  # users send back what Set-Cookie gave them
    cpus: tuple[int, ...] = ()  # one process on each; none: one process wherever the kernel puts it
    overflow: bool = False  # more users may connect at once than the listener's queue holds
    first_user: int = 0  # the number that `{user}` stands for begins here
    processes: int = 1  # that carry the whole plan out together, of which this is a share
    processes_here: int = 1  # of them on this machine: they share its ports

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise LoadError(f"mode {self.mode!r} is not one of {', '.join(MODES)}")
        if self.users < 1 or self.duration_s <= 0 or self.timeout_s <= 0 or self.warmup_s < 0:
            raise LoadError("users, duration and time-out must be more than 0, the warm-up at least 0")
        if self.rate is not None and self.rate <= 0:
            raise LoadError("the rate must be more than 0")
        if self.requests_per_connection < 0 or (self.requests_per_connection and self.mode != "keep-alive"):
            raise LoadError("requests per connection must be at least 1, and go with kept connections only")
        if len(self.cpus) > self.users:
            raise LoadError(f"{self.users} users cannot be spread over {len(self.cpus)} CPUs")

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Plan:
        """A plan from what `dataclasses.asdict` made of one, also by way of JSON."""
        targets = tuple(Target(**{**each, "headers": tuple(each["headers"])}) for each in values["targets"])
        tuples = {name: tuple(values[name]) for name in ("headers", "cpus")}
        return cls(**{**values, **tuples, "targets": targets})

    def values(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @property
    def limit_per_connection(self) -> int:
        """Requests after which a user leaves a connection; 0: never."""
        return self.requests_per_connection if self.mode == "keep-alive" else 1

    def share(self, index: int, of: int, here: int | None = None) -> Plan:
        """The part of process `index` of `of`: its users and rate, on its CPU; `here` of them are on its machine."""
        if of > self.users:
            raise LoadError(f"{self.users} users cannot be spread over {of} processes")
        return dataclasses.replace(
            self,
            users=self.users // of + (index < self.users % of),
            rate=None if self.rate is None else self.rate / of,
            cpus=(self.cpus[index % len(self.cpus)],) if self.cpus else (),
            first_user=index * (self.users // of) + min(index, self.users % of),
            processes=of,
            processes_here=of if here is None else here,
        )

    def all_targets(self) -> tuple[Target, ...]:
        """The targets, or the one that the URL names."""
        if self.targets:
            return self.targets
        url, _ = split(self.url)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        return (Target(path=path, method=self.method, body=self.body, expect_length=self.expect_length),)


def split(text: str) -> tuple[SplitResult, int]:
    """An http URL and its port. Raises LoadError for what is none."""
    try:
        url = urlsplit(text)
        port = url.port or 80
    except ValueError as error:
        raise LoadError(f"URL {text!r}: {error}") from None
    if url.scheme != "http" or not url.hostname:
        raise LoadError(f"URL {text!r} is not of the form http://HOST[:PORT]/PATH")
    return url, port
