"""What a user does with Set-Cookie (RFC 6265): he keeps it for its time, and sends it where its path says.

He visits one server only, by one name and without TLS, so Domain, Secure and the other attributes do not matter to him.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from email.utils import mktime_tz, parsedate_tz


class Jar:
    """One user's cookies: by name and path, values and when they end, in seconds since 1970."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[tuple[bytes, bytes], tuple[bytes, float]] = {}

    def take(self, values: Iterable[bytes], path: bytes, now: float) -> None:
        """Put in what the values of Set-Cookie say in the answer to a request for `path`, a target with its query."""
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
        """Whether there were some."""
        ended = [key for key, (_, ends) in self._kept.items() if ends <= now]
        for key in ended:
            del self._kept[key]
        return bool(ended)

    def header(self, path: bytes) -> bytes:
        """The value of Cookie in a request for `path`; longer paths come first (RFC 6265 section 5.4)."""
        path = path.partition(b"?")[0]
        found = [(where, name, value) for (name, where), (value, _) in self._kept.items() if _is_below(path, where)]
        found.sort(key=lambda each: -len(each[0]))
        return b"; ".join(name + b"=" + value for _, name, value in found)


def _end(said: dict[bytes, bytes], now: float) -> float:
    """RFC 6265 section 5.3: Max-Age outweighs Expires; what makes no sense does not count."""
    age = said.get(b"max-age", b"")
    if age.removeprefix(b"-").isdigit():
        return now + int(age[:18])
    date = parsedate_tz(said.get(b"expires", b"").decode("latin-1"))
    try:
        return math.inf if date is None else mktime_tz(date)
    except (ValueError, OverflowError):  # the 99th of a month
        return math.inf


def _directory(path: bytes) -> bytes:
    """The path of a cookie that names none (RFC 6265 section 5.1.4)."""
    return path.partition(b"?")[0].rpartition(b"/")[0] or b"/"


def _is_below(path: bytes, where: bytes) -> bool:
    return path == where or (path.startswith(where) and (where.endswith(b"/") or path[len(where)] == ord("/")))
