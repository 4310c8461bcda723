"""The syntax of `--bind`, where a server listens: HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N; with http:// or https://
before HOST:PORT it says whether TLS is spoken there.

A host without a port, or a port without a host, is refused: a default would decide who can reach the server, and each
server has another default. A PATH that begins with @ is an abstract address, see unix(7). Nothing is resolved or
opened.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

SPELLINGS = "HOST:PORT, [IPV6]:PORT, https://HOST:PORT, unix:PATH or fd://N"

_HOST = re.compile(r"[A-Za-z0-9._-]+")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?")
_SCHEMES = {"http://": False, "https://": True}
_MAX_PORT = 65535
_MAX_DESCRIPTOR = 2**31 - 1  # an int of C
_MAX_UNIX_PATH = 107  # bytes: sun_path of unix(7) holds 108, the last of which is NUL


@dataclass(frozen=True, slots=True)
class Address:
    """One address to listen at. `kind` says which of the other fields have a meaning: `host` and `port`, `path`, or
    `fd`, the number of an inherited descriptor.

    `str()` of it is what the ready line shows: `http://127.0.0.1:8000`, `https://[::1]:8000`,
    `unix:/run/app.sock`, `fd://3`.
    """

    kind: Literal["tcp", "unix", "fd"]
    host: str = ""
    port: int = 0  # 0: the kernel chooses
    path: str = ""
    fd: int = -1
    tls: bool | None = None
    """Whether TLS is spoken here; None: it is not said, see `speaks_tls`."""

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        if self.kind == "fd":
            return f"fd://{self.fd}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def speaks_tls(address: Address, addresses: Iterable[Address]) -> bool:
    """Whether TLS is spoken at one of the addresses of a server that has certificates: where https:// says so, or, if
    no address has https://, wherever http:// does not say otherwise."""
    return address.tls if address.tls is not None else not any(each.tls for each in addresses)


def parse_address(text: str) -> Address:
    """Parse a value of `--bind`.

    Raises ValueError, whose text ("must be ...") completes the sentence about the value.
    """
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"))
    if text.startswith("fd://"):
        return _descriptor(text.removeprefix("fd://"))
    for scheme, tls in _SCHEMES.items():
        if text.lower().startswith(scheme):
            return replace(_tcp(text[len(scheme) :].removesuffix("/")), tls=tls)
    return _tcp(text)


def _unix(path: str) -> Address:
    if not path or "\0" in path or len(path.encode()) > _MAX_UNIX_PATH:
        raise ValueError(f"must be unix:PATH with a path of 1 to {_MAX_UNIX_PATH} bytes")
    return Address("unix", path=path)


def _descriptor(digits: str) -> Address:
    if not _is_number(digits) or int(digits) > _MAX_DESCRIPTOR:
        raise ValueError("must be fd://N with N the number of an inherited descriptor")
    return Address("fd", fd=int(digits))


def _tcp(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not host or host.startswith("[") != host.endswith("]"):
        raise ValueError(f"must be {SPELLINGS}{_suggestion(text)}")
    bracketed = host.startswith("[")
    host = host[1:-1] if bracketed else host
    if not (_IPV6 if bracketed else _HOST).fullmatch(host):
        raise ValueError(f"must be {SPELLINGS}{_suggestion(text)}")
    if not _is_number(port) or int(port) > _MAX_PORT:
        raise ValueError(f"must be {SPELLINGS} with a port from 0 to {_MAX_PORT}")
    return Address("tcp", host=host, port=int(port))


def _is_number(text: str) -> bool:
    """True if `text` is 1 to 10 ASCII digits, as a port or descriptor may be (`int()` accepts far more)."""
    return text.isascii() and text.isdigit() and len(text) <= 10


def _suggestion(text: str) -> str:
    """Return " (did you mean ...?)" for the mistakes that are made most; "" for others."""
    port = text.removeprefix(":")
    if _is_number(port):
        return f" (did you mean 127.0.0.1:{port}, or 0.0.0.0:{port} for every interface?)"
    if _HOST.fullmatch(text):
        return f" (did you mean {text}:8000?)"
    host, _, port = text.rpartition(":")
    if _IPV6.fullmatch(host) and _is_number(port):
        return f" (did you mean [{host}]:{port}?)"
    return ""
