"""The syntax of `--bind`, where a server listens: HOST:PORT, [IPV6]:PORT, unix:PATH, fd://N or fd://NAME; with http://
or https:// before HOST:PORT it says whether TLS is spoken there.

A host without a port, or a port without a host, is refused: a default would decide who can reach the server, and each
server has another default. A PATH that begins with @ is an abstract address, see unix(7). After another PATH may follow
the rights of its file: ?mode=660&user=www&group=www. Neither hosts nor descriptors are looked up here, and nothing is
opened.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from septet.accounts import group_id, user_id

SPELLINGS = "HOST:PORT, [IPV6]:PORT, http://HOST:PORT, https://HOST:PORT, unix:PATH or fd://N"
_RIGHTS = "unix:PATH?mode=660&user=USER&group=GROUP, each of the three at most once, and the mode octal"

_HOST = re.compile(r"[A-Za-z0-9._-]+")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?")
_SCHEMES = {"http://": False, "https://": True}
_MAX_PORT = 65535
_MAX_DESCRIPTOR = 2**31 - 1  # an int of C
_MAX_UNIX_PATH = 107  # bytes: sun_path of unix(7) holds 108, the last of which is NUL
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9._@-]{0,254}")  # FileDescriptorName= of systemd.socket(5)


@dataclass(frozen=True, slots=True)
class Address:
    """One address to listen at. `kind` says which of the other fields have a meaning: `host` and `port`, `path` with
    the rights of its file, or `fd`, the number of an inherited descriptor. A descriptor may have a `name` in place of
    its number; see `net.activation`.

    `str()` of it is what the ready line shows: `http://127.0.0.1:8000`, `https://[::1]:8000`,
    `unix:/run/app.sock`, `fd://3`.
    """

    kind: Literal["tcp", "unix", "fd"]
    host: str = ""
    port: int = 0  # 0: the kernel chooses
    path: str = ""
    fd: int = -1
    name: str = ""
    mode: int | None = None
    """The mode of a unix socket's file; None: octal 777 less the umask."""
    uid: int = -1
    """The user of a unix socket's file; -1: the user who makes it."""
    gid: int = -1
    tls: bool | None = None
    """True if `--bind` has https:// before this address, False if http://; None if neither: then `speaks_tls` decides.
    """

    @property
    def has_rights(self) -> bool:
        """True if the file of this unix socket gets a mode, a user or a group of its own."""
        return self.mode is not None or self.uid >= 0 or self.gid >= 0

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        if self.kind == "fd":
            return f"fd://{self.name or self.fd}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def speaks_tls(address: Address, addresses: Iterable[Address]) -> bool:
    """Return True if TLS is spoken at `address`, one of the `addresses` of a server that has certificates. At an
    address that was given with https:// it is, with http:// it is not; one that was given with neither speaks TLS
    unless another address was given with https://.
    """
    return address.tls if address.tls is not None else not any(each.tls for each in addresses)


def parse_address(text: str) -> Address:
    """Parse a value of `--bind`.

    Raises ValueError with a text "must be ...", to which the caller adds the option and its value.
    """
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"))
    if text.startswith("fd://"):
        return _descriptor(text.removeprefix("fd://"))
    for scheme, tls in _SCHEMES.items():
        if text.lower().startswith(scheme):
            return replace(_tcp(text[len(scheme) :].removesuffix("/")), tls=tls)
    return _tcp(text)


def _unix(text: str) -> Address:
    path, asked, rights = text.partition("?")
    if not path or "\0" in path or len(path.encode()) > _MAX_UNIX_PATH:
        raise ValueError(f"must be unix:PATH with a path of 1 to {_MAX_UNIX_PATH} bytes")
    if not asked:
        return Address("unix", path=path)
    if path.startswith("@"):
        raise ValueError("must be unix:@NAME without mode, user and group: an abstract socket has no file (unix(7))")
    given = dict(each.partition("=")[::2] for each in rights.split("&"))
    mode = given.pop("mode", None)
    user, group = given.pop("user", None), given.pop("group", None)
    if given or rights.count("&") + 1 != sum(each is not None for each in (mode, user, group)):
        raise ValueError(f"must be {_RIGHTS}")
    if mode is not None and not re.fullmatch("0?[0-7]{3}", mode):
        raise ValueError(f"must be {_RIGHTS}")
    return Address(
        "unix",
        path=path,
        mode=None if mode is None else int(mode, 8),
        uid=-1 if user is None else _whose("user", user_id, user),
        gid=-1 if group is None else _whose("group", group_id, group),
    )


def _whose(what: str, look_up: Callable[[str], int], text: str) -> int:
    try:
        return look_up(text)
    except ValueError:
        raise ValueError(f"must be {_RIGHTS}; there is no {what} {text!r} here") from None


def _descriptor(text: str) -> Address:
    if _is_number(text) and int(text) <= _MAX_DESCRIPTOR:
        return Address("fd", fd=int(text))
    if _NAME.fullmatch(text):
        return Address("fd", name=text)
    raise ValueError("must be fd://N with N the number of an inherited descriptor, or its name in LISTEN_FDNAMES")


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
    """Return " (did you mean ...?)" if `text`, a value of `--bind` that was refused, is one of the most frequent
    mistakes (a port alone, a host alone, an IPv6 address without brackets); "" if it is not. The result is appended
    to the error message.
    """
    port = text.removeprefix(":")
    if _is_number(port):
        return f" (did you mean 127.0.0.1:{port}, or 0.0.0.0:{port} for every interface?)"
    if _HOST.fullmatch(text):
        return f" (did you mean {text}:8000?)"
    host, _, port = text.rpartition(":")
    if _IPV6.fullmatch(host) and _is_number(port):
        return f" (did you mean [{host}]:{port}?)"
    return ""
