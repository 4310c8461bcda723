"""Checks that this machine can carry out a plan, before anything is sent; errors say what to change."""

from __future__ import annotations

import importlib.util
import ipaddress
import math
import resource
import socket
import sys
from pathlib import Path
from typing import Any, NamedTuple

from .listen_queue import ListenQueue, listen_queue
from .plan import LoadError, Plan, socket_path, split

SPARE_DESCRIPTORS = 32
"""Descriptors kept free for standard streams, epoll, name resolution, and files that the caller has open."""
PORTS_USED_MAX = 0.5
"""Largest share of the ports of a local address that users may occupy: the more are taken, the longer the kernel looks
for a free one.
"""
SOURCES_MAX = 250
SOURCES_OF_CHURN = 8
"""If users open new connections again and again, they connect from at least this many local addresses of the loopback,
because an ended connection keeps its port for a while (TIME_WAIT).
"""


class Route(NamedTuple):
    """How to reach the server: its address, and the local addresses to connect from."""

    family: socket.AddressFamily
    address: Any
    """The address of the server, as socket.connect takes it."""
    sources: tuple[str, ...]
    """Local addresses to connect from, which users take in turn; empty: the kernel chooses."""
    queue: ListenQueue | None
    """The server's listen queue before the run; None where the kernel does not know it, as for a server on another
    machine.
    """


def prepare(plan: Plan) -> Route:
    """Prepare this machine for a plan, and return the route to the server: set the limit of open files to its maximum,
    resolve the host, and choose the local addresses to connect from.

    Raises LoadError when the URL is wrong, when there are too few file descriptors, ports or places in the listen queue
    for the users, or when the library for HTTP/2 is needed and missing.
    """
    if plan.streams:
        check_http2()
    url, port = split(plan.url)
    check_descriptors(-(-(plan.connections + plan.slow) // max(1, len(plan.cpus))))
    path = socket_path(plan.url)
    if path is not None:
        return Route(socket.AF_UNIX, "\0" + path[1:] if path.startswith("@") else path, (), None)
    family, address = _reachable(str(url.hostname), port, plan.timeout_s)
    sources = _sources(plan, str(address[0]))
    queue = listen_queue(family, str(address[0]), port)
    if queue is not None and plan.limit_per_connection and not plan.overflow:
        _check_queue(plan, queue)
    return Route(family, address, sources, queue)


def _reachable(host: str, port: int, timeout_s: float) -> tuple[socket.AddressFamily, Any]:
    """Resolve the host, which may have several addresses, as `localhost` has one of IPv6 and one of IPv4. Return the
    first address at which a server listens on the port; if none listens, the first address.

    Raises LoadError when the host cannot be resolved.
    """
    try:
        found = [(each[0], each[4]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise LoadError(f"host {host!r} cannot be resolved: {getattr(error, 'strerror', error)}") from None
    for family, address in found if len(found) > 1 else ():
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(timeout_s)
            if probe.connect_ex(address) == 0:
                return family, address
    return found[0]


def check_http2() -> None:
    """Raise LoadError if the library that HTTP/2 needs is not installed."""
    if importlib.util.find_spec("h2") is None:
        raise LoadError("--http2 needs the library h2: pip install 'septet[http2]'")


def check_users(users: int) -> None:
    """Raise LoadError if this machine has too few file descriptors or local ports to simulate so many users, where the
    server is on the loopback.
    """
    check_descriptors(users)
    if (ports := _ports()) and users > ports * SOURCES_MAX:
        raise LoadError(_too_few_ports(users, ports * SOURCES_MAX))


def check_descriptors(users: int) -> None:
    """Set the limit of open files of this process to its maximum, the hard limit. Raises LoadError when that is too low
    for `users`, each of whom needs a descriptor.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and users + SPARE_DESCRIPTORS > hard:
        raise LoadError(
            f"{users} users do not fit into the limit of {hard} open files: raise it (ulimit -Hn, limits.conf), "
            f"take at most {hard - SPARE_DESCRIPTORS} users, or spread them over processes on several CPUs"
        )


def spare_descriptors(users: int) -> int:
    """Return how many more file descriptors this process may open when each of `users` has a connection."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft - users - SPARE_DESCRIPTORS


def _sources(plan: Plan, host: str) -> tuple[str, ...]:
    """Return the local addresses to connect from, for `Route.sources`. For a server on IPv4 loopback they are
    127.0.0.1, 127.0.0.2, ..., as many as the users need, because each address has its own range of ports.

    The tuple is empty when one address is enough, and for every server that is not on IPv4 loopback. Raises LoadError
    when there are too few ports.
    """
    ports, users = _ports(), plan.connections * plan.processes_here
    loopback = ipaddress.ip_address(host)
    if not (loopback.version == 4 and loopback.is_loopback):
        if ports and users > ports:
            raise LoadError(_too_few_ports(users, ports))
        return ()
    if not ports:
        return ()
    needed = math.ceil(users / (ports * PORTS_USED_MAX))
    if plan.limit_per_connection:
        needed = max(needed, SOURCES_OF_CHURN)
    if needed > SOURCES_MAX:
        raise LoadError(_too_few_ports(users, int(ports * PORTS_USED_MAX) * SOURCES_MAX))
    return tuple(f"127.0.0.{number}" for number in range(1, needed + 1)) if needed > 1 else ()


def _too_few_ports(users: int, ports: int) -> str:
    return (
        f"{users} users do not fit into the {ports} local ports of net.ipv4.ip_local_port_range: widen it "
        "(sysctl -w net.ipv4.ip_local_port_range='1024 65535')"
    )


def _ports() -> int | None:
    """Return how many ports of each local address a client can use; None if it cannot be read from /proc/sys."""
    text = sysctl("net.ipv4.ip_local_port_range")
    if text is None:
        return None  # a lack of ports then shows as errors "no local port"
    low, high = map(int, text.split())
    return high - low + 1


def _check_queue(plan: Plan, queue: ListenQueue) -> None:
    """Raise LoadError if the listen queue has too few places for users who connect for every request, since all of them
    may wait in the queue at the same time.

    The kernel drops a SYN that finds the queue full, and the client sends it again after 1, 3 and 7 s (RFC 6298): such
    a run would measure these delays.
    """
    cure = ", or take --overflow to measure what happens then"
    users = plan.connections
    if users > queue.backlog:
        somaxconn = int(sysctl("net.core.somaxconn") or 0)
        which = "net.core.somaxconn" if queue.backlog >= somaxconn else "its own backlog"
        raise LoadError(
            f"{users} users who connect anew for every request do not fit into the listener's queue of "
            f"{queue.backlog} ({which}): raise that, keep connections{cure}"
        )
    half_open = int(sysctl("net.ipv4.tcp_max_syn_backlog") or users * 2)
    if sysctl("net.ipv4.tcp_syncookies") == "0" and users > half_open * 3 // 4:  # tcp_conn_request()
        raise LoadError(
            f"{users} users who connect anew for every request do not fit into net.ipv4.tcp_max_syn_backlog = "
            f"{half_open}: raise it, turn net.ipv4.tcp_syncookies on{cure}"
        )


def sysctl(name: str) -> str | None:
    """Return the value of a kernel parameter; None where it cannot be read."""
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip()
    except OSError:
        return None
