"""The requests: the order in which targets are requested, the bytes of each request, and the cookies of each user.

The bytes are made once for all users, or for each user where `{user}` or cookies make them differ.
"""

from __future__ import annotations

import math
import random
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from urllib.parse import unquote_to_bytes

from .plan import USER_PLACEHOLDER, LoadError, Plan, Target, merged, split

SHUFFLES = 16
"""Number of shuffled rounds in the order of targets; each round has every target in proportion to its weight. After the
last round the same order begins again.
"""


def target_order(weights: list[int], seed: int = 0) -> list[int]:
    """Return the order in which to request targets, as indices of `weights`: random, but each in proportion to its
    weight. The same seed gives the same order.

    The list has SHUFFLES shuffled rounds. Each round has the exact proportions, which independent draws would not have.
    """
    divisor = math.gcd(*weights)
    round = [index for index, weight in enumerate(weights) for _ in range(weight // divisor)]
    if len(round) == 1:
        return round
    chance = random.Random(seed)
    shuffled: list[int] = []
    for _ in range(SHUFFLES):
        chance.shuffle(round)
        shuffled += round
    return shuffled


class Jar:
    """The cookies of one user (RFC 6265): by name and path, their values and expiry in seconds since 1970.

    Domain, Secure and the other attributes are ignored, because a user visits one server by one name.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[tuple[bytes, bytes], tuple[bytes, float]] = {}

    def take(self, values: Iterable[bytes], path: bytes, now: float) -> None:
        """Store the cookies of an answer; an expired one removes the stored one (RFC 6265 section 5.3).

        Args:
            values: the values of the Set-Cookie fields.
            path: the path of the request, with its query.
            now: seconds since 1970.
        """
        for text in values:
            pair, *attributes = [part.strip() for part in text.split(b";")]
            name, _, value = (part.strip() for part in pair.partition(b"="))
            said = {
                key.strip().lower(): argument.strip() for key, _, argument in (a.partition(b"=") for a in attributes)
            }
            where = said.get(b"path", b"")
            key = name, where if where.startswith(b"/") else _directory(path)
            ends = _end(said, now)
            if ends <= now:
                self._kept.pop(key, None)
            else:
                self._kept[key] = value, ends

    def drop_ended(self, now: float) -> bool:
        """Remove the cookies that have expired at `now`, in seconds since 1970; True if there were any."""
        ended = [key for key, (_, ends) in self._kept.items() if ends <= now]
        for key in ended:
            del self._kept[key]
        return bool(ended)

    def header(self, path: bytes) -> bytes:
        """Return the value of the Cookie field for a request of `path`, cookies with longer paths first (RFC 6265
        section 5.4)."""
        path = path.partition(b"?")[0]
        found = [(where, name, value) for (name, where), (value, _) in self._kept.items() if _is_below(path, where)]
        found.sort(key=lambda each: -len(each[0]))
        return b"; ".join(name + b"=" + value for _, name, value in found)


def _end(said: dict[bytes, bytes], now: float) -> float:
    """Return when a cookie with the attributes `said` expires, in seconds since 1970; infinity for a session cookie.
    `now`: seconds since 1970.

    Max-Age outweighs Expires; invalid values are ignored (RFC 6265 section 5.3).
    """
    age = said.get(b"max-age", b"")
    if age.removeprefix(b"-").isdigit():
        return now + int(age[:18])
    date = parsedate_tz(said.get(b"expires", b"").decode("latin-1"))
    try:
        return math.inf if date is None else mktime_tz(date)
    except (ValueError, OverflowError):  # such as the 99th of a month
        return math.inf


def _directory(path: bytes) -> bytes:
    """Return the path of a cookie that has no Path attribute, from the path of the request (RFC 6265 section 5.1.4)."""
    return path.partition(b"?")[0].rpartition(b"/")[0] or b"/"


def _is_below(path: bytes, where: bytes) -> bool:
    return path == where or (path.startswith(where) and (where.endswith(b"/") or path[len(where)] == ord("/")))


@dataclass(frozen=True, slots=True)
class Requests:
    """One user's request to each target, in the order of the plan's targets."""

    keep: tuple[bytes, ...]
    """Each target's request in bytes, for a connection that will carry another request after it."""
    last: tuple[bytes, ...]
    """Each target's request in bytes, for the last request on a connection. Over HTTP/1.1 it has the header field
    "Connection: close".
    """


class Encoder:
    """Makes the requests of a plan. Raises LoadError on creation for characters that HTTP does not allow in a head."""

    def __init__(self, plan: Plan) -> None:
        url, _ = split(plan.url)
        self._ours = [f"Host: {url.netloc.rpartition('@')[2]}"]
        if url.username is not None:  # RFC 7617
            pair = unquote_to_bytes(url.username) + b":" + unquote_to_bytes(url.password or "")
            self._ours.append(f"Authorization: Basic {b64encode(pair).decode()}")
        self._plan = plan
        self._targets = plan.all_targets()
        common = "".join(plan.headers)
        self._personal = USER_PLACEHOLDER in common or any(_has_placeholder(target) for target in self._targets)
        self._shared = self._encode(0, None)

    def head(self, target: Target) -> bytes:
        """Return the bytes of a request to `target`, on a connection that is kept. The target need not be one of the
        plan.
        """
        return self._request(target, 0, None, close=False)

    def requests_of(self, user: int, cookies: Jar | None = None) -> Requests:
        """Return the requests of a user; one object for all users when their requests do not differ."""
        return self._encode(user, cookies) if self._personal or cookies else self._shared

    def _encode(self, user: int, cookies: Jar | None) -> Requests:
        close = self._plan.mode != "http10"
        return Requests(
            keep=tuple(self._request(target, user, cookies, close=False) for target in self._targets),
            last=tuple(self._request(target, user, cookies, close) for target in self._targets),
        )

    def _request(self, target: Target, user: int, cookies: Jar | None, close: bool) -> bytes:
        version = "HTTP/1.0" if self._plan.mode == "http10" else "HTTP/1.1"
        body = target.body.replace(USER_PLACEHOLDER, str(user)).encode("utf-8", "surrogateescape")
        path = target.path.replace(USER_PLACEHOLDER, str(user))
        ours = self._ours.copy()
        if body or target.method in ("POST", "PUT", "PATCH"):
            ours.append(f"Content-Length: {len(body)}")
        if close:
            ours.append("Connection: close")
        headers = _in_order(tuple(ours), merged(self._plan.headers, target.headers))
        lines = [
            f"{target.method} {path} {version}",
            *(header.replace(USER_PLACEHOLDER, str(user)) for header in headers),
        ]
        if " " in target.path or not all(line.isascii() and line.isprintable() for line in lines):
            raise LoadError("the path and headers may hold printable ASCII only; write other characters as %XX")
        head = "\r\n".join(lines).encode("ascii")
        if cookies and (pairs := cookies.header(path.encode("ascii"))):
            head += b"\r\nCookie: " + pairs
        return head + b"\r\n\r\n" + body


def _in_order(ours: tuple[str, ...], asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return the header fields of a request in the order in which they are sent. Host is first (RFC 9110 section 7.2);
    then come the fields of `asked`, which the plan has, and then those of `ours`, which the load generator adds. A
    field in `asked` replaces those of the same name in `ours`.
    """
    kept = merged(ours, asked)[: -len(asked) or None]
    hosts = [header for header in (*kept, *asked) if header.lower().startswith("host:")]
    return (*hosts, *(header for header in (*asked, *kept) if header not in hosts))


def _has_placeholder(target: Target) -> bool:
    return any(USER_PLACEHOLDER in text for text in (target.path, target.body, *target.headers))
