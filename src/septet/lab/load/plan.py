"""What a run of the load generator shall do, and whether this machine can do it."""

from __future__ import annotations

import resource
import socket
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

MODES = ("keep-alive", "close", "http10")
ANY_LENGTH = -1
SPARE_DESCRIPTORS = 32  # standard streams, epoll, name resolution, and what the caller has open


class LoadError(Exception):
    """The plan cannot be carried out; one sentence says why and what to change."""


@dataclass(frozen=True)
class Plan:
    """What to do. Times are in seconds, lengths in bytes; LoadError when a value is out of range."""

    url: str
    users: int = 50
    duration_s: float = 5.0
    warmup_s: float = 1.0  # before it; only then are users kept from arriving all at once
    mode: str = "keep-alive"
    timeout_s: float = 10.0  # for one request, connecting included
    expect_length: int | None = None  # None: the length of the first answer; ANY_LENGTH
    headers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise LoadError(f"mode {self.mode!r} is not one of {', '.join(MODES)}")
        if self.users < 1 or self.duration_s <= 0 or self.timeout_s <= 0 or self.warmup_s < 0:
            raise LoadError("users, duration and time-out must be more than 0, the warm-up at least 0")


def prepare(plan: Plan) -> tuple[socket.AddressFamily, Any, bytes]:
    """Raise the limit of open files and resolve the host; returns address family, address and the request's bytes.

    Raises LoadError when the URL is wrong, or when the users do not fit into this machine's limits.
    """
    url, port = _split(plan.url)
    request = _request(plan, url)
    check_limits(plan.users)
    try:
        family, _, _, _, address = socket.getaddrinfo(url.hostname, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise LoadError(f"host {url.hostname!r} cannot be resolved: {error.strerror}") from None
    return family, address, request


def check_limits(users: int) -> None:
    """Raise this process's limit of open files as far as it goes. Raises LoadError when the users do not fit here."""
    _raise_descriptor_limit(users)
    _check_ports(users)


def spare_descriptors(users: int) -> int:
    """How many files more than one for each user may be open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft - users - SPARE_DESCRIPTORS


def _split(text: str) -> tuple[SplitResult, int]:
    try:
        url = urlsplit(text)
        port = url.port or 80
    except ValueError as error:
        raise LoadError(f"URL {text!r}: {error}") from None
    if url.scheme != "http" or not url.hostname:
        raise LoadError(f"URL {text!r} is not of the form http://HOST[:PORT]/PATH")
    return url, port


def _request(plan: Plan, url: SplitResult) -> bytes:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    version = "HTTP/1.0" if plan.mode == "http10" else "HTTP/1.1"
    lines = [f"GET {target} {version}", f"Host: {url.netloc.rpartition('@')[2]}", *plan.headers]
    if plan.mode == "close":
        lines.append("Connection: close")
    if " " in target or not all(line.isascii() and line.isprintable() for line in lines):
        raise LoadError("the path and headers may hold printable ASCII only; write other characters as %XX")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _raise_descriptor_limit(users: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and users + SPARE_DESCRIPTORS > hard:
        raise LoadError(
            f"{users} users do not fit into the limit of {hard} open files: raise it (ulimit -Hn, limits.conf) "
            f"or take at most {hard - SPARE_DESCRIPTORS} users"
        )


def _check_ports(users: int) -> None:
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            low, high = map(int, file.read().split())
    except OSError:
        return  # /proc/sys is hidden in some containers: then a lack of ports shows as errors of that kind
    if users > high - low + 1:
        raise LoadError(
            f"{users} users do not fit into the {high - low + 1} local ports of net.ipv4.ip_local_port_range: widen it"
        )
