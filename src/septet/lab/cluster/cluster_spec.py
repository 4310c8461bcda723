"""Parses the options about a cluster: `--cluster`, and `--host` and `--cpus` of `septet bench`."""

from __future__ import annotations

import ipaddress
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from septet.errors import UsageError
from septet.lab.pinning import Pinning, pinning

SCHEMES = ("tcp", "tls")
"""Schemes of the addresses of a Dask scheduler."""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that is reached by ssh(1), and the path of a Python interpreter there that has Septet."""

    name: str
    """The destination for ssh: a name of ~/.ssh/config, or user@host."""
    python: str


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """The parsed value of --cluster; exactly one of the three fields is set."""

    local: int = 0
    """Number of workers to start on this machine."""
    hosts: tuple[Host, ...] = ()
    """Machines on each of which one worker is started, by ssh."""
    scheduler: str | None = None
    """The address of the scheduler of a running cluster."""

    @classmethod
    def read(cls, text: str) -> ClusterSpec:
        """Parse local:N, ssh:HOST[=PYTHON],... or tcp://SCHEDULER:PORT. Raises UsageError for other texts."""
        kind, _, rest = text.partition(":")
        if kind == "local" and rest.isascii() and rest.isdigit() and int(rest):
            return cls(local=int(rest))
        if kind == "ssh" and (hosts := _hosts(rest)):
            return cls(hosts=hosts)
        if kind in SCHEMES and _is_address(text):
            return cls(scheduler=text)
        raise UsageError(f"--cluster: {text!r} is not of the form local:2, ssh:HOST,HOST or tcp://SCHEDULER:8786")


def _hosts(text: str) -> tuple[Host, ...]:
    """Return the machines in a list of the form HOST[=PYTHON],...; an empty tuple if a HOST is empty, or begins with
    "-", so that ssh would take it for an option.

    Raises UsageError when a host is named twice.
    """
    hosts = []
    for word in text.split(","):
        name, _, python = word.strip().partition("=")
        if not name or name.startswith("-"):
            return ()
        hosts.append(Host(name, python or sys.executable))
    if len({host.name for host in hosts}) < len(hosts):
        raise UsageError("--cluster: a host is named twice: --cpus puts more than one process on each")
    return tuple(hosts)


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.hostname and parts.port)
    except ValueError:
        return False


def host(text: str) -> str:
    """Check --host and return it: an IP address of this machine, and not 0.0.0.0 or ::, because it is also used in the
    URL. Raises UsageError.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(f"--host: {text!r} is no IP address") from None
    if address.is_unspecified:
        raise UsageError(f"--host: {text} cannot be loaded: name one of this machine's addresses")
    return str(address)


def pinned(spec: str | None, cpus: tuple[int, ...], pin: bool) -> Pinning:
    """Return the CPUs for the server on this machine, and those for the load generator on each worker, which may run on
    another machine. Raises UsageError for --cpus without --cluster.

    `spec`: the value of --cluster. `cpus`: that of --cpus. `pin`: False for --no-pin, with which server and load
    generator may use all CPUs.
    """
    if cpus and spec is None:
        raise UsageError("--cpus: without --cluster, --pin does it")
    if spec is not None and not ClusterSpec.read(spec).local:
        return Pinning(client=cpus)
    ours = pinning() if pin else Pinning()
    return ours._replace(client=cpus) if cpus else ours
