"""Conditional requests (RFC 9110 section 13): whether the client has the current state of a file already.

A head's conditions are parsed once (`read_conditions`) and evaluated for each request (`Conditions.status`), in the
order of section 13.2.2.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_tags = re.compile(rb'((?:W/)?"[!\x23-\x7e\x80-\xff]*")').split
"""Splits a field's value at its entity tags (RFC 9110 section 8.8.3), which may contain commas: the text between them
and the tags alternate in the result.
"""

_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTH = rb"(?P<month>" + b"|".join(_MONTHS) + rb")"
_TIME = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_dates = (
    re.compile(_DAY + rb", (?P<day>[0-9]{2}) " + _MONTH + rb" (?P<year>[0-9]{4}) " + _TIME + rb" GMT").fullmatch,
    re.compile(_LONG_DAY + rb", (?P<day>[0-9]{2})-" + _MONTH + rb"-(?P<year>[0-9]{2}) " + _TIME + rb" GMT").fullmatch,
    re.compile(_DAY + b" " + _MONTH + rb" (?P<day>[ 0-9][0-9]) " + _TIME + rb" (?P<year>[0-9]{4})").fullmatch,
)
"""The three forms of HTTP-date, RFC 9110 section 5.6.7: the one that is sent, and two obsolete ones that must be
accepted.
"""


@dataclass(frozen=True, slots=True)
class Validators:
    """The header fields of an answer that identify one state of a file (RFC 9110 section 8.8)."""

    tag: bytes
    """The value of ETag: a strong entity tag."""
    modified: bytes
    """The value of Last-Modified."""
    modified_s: int
    """The time in `modified`, in seconds since 1970."""
    settled: bool
    """True if the second that `modified` names was over when the file was read, so that no later state can have the
    same date (RFC 9110 section 8.8.2.2).
    """


@dataclass(frozen=True, slots=True)
class Tags:
    """A list of entity tags, or `*`, which matches any."""

    listed: frozenset[bytes]
    any: bool = False

    def has(self, tag: bytes) -> bool:
        """True if the strong tag `tag` is in the list by strong comparison (RFC 9110 section 8.8.3.2)."""
        return self.any or tag in self.listed

    def has_weakly(self, tag: bytes) -> bool:
        """True if the strong tag `tag` is in the list by weak comparison, which ignores the prefix `W/` (RFC 9110
        section 8.8.3.2).
        """
        return self.has(tag) or b"W/" + tag in self.listed


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of a request: an attribute for each of its header fields of this kind, dates in seconds since
    1970. None: the request does not have the field, or the field must be ignored.
    """

    match: Tags | None
    unmodified_since: int | None
    none_match: Tags | None
    modified_since: int | None
    if_range: bytes | None

    def status(self, now: Validators) -> int:
        """Return 304 or 412 if a condition fails for the file, whose present state is `now`, else 200 (RFC 9110 section
        13.2.2, steps 1 to 4).
        """
        if self.match is not None:
            if not self.match.has(now.tag):
                return 412
        elif self.unmodified_since is not None and now.modified_s > self.unmodified_since:
            return 412
        if self.none_match is not None:
            return 304 if self.none_match.has_weakly(now.tag) else 200
        if self.modified_since is not None and now.modified_s <= self.modified_since:
            return 304
        return 200

    def permit_range(self, now: Validators) -> bool:
        """True if the field Range is to be honoured for the file, whose present state is `now`: If-Range is missing or
        matches it (RFC 9110 section 13.2.2, step 5).
        """
        if self.if_range is None or self.if_range == now.tag:
            return True
        return now.settled and self.if_range == now.modified


def read_conditions(said: Mapping[bytes, bytes]) -> Conditions | None:
    """Return the conditions in a head, given its fields by their names in lower case; None if there are none. A
    malformed date is ignored (RFC 9110 sections 13.1.3 and 13.1.4).
    """
    found = Conditions(
        _read_tags(said.get(b"if-match")),
        seconds(said.get(b"if-unmodified-since", b"")),
        _read_tags(said.get(b"if-none-match")),
        seconds(said.get(b"if-modified-since", b"")),
        said.get(b"if-range"),
    )
    return found if found != _NONE else None


_NONE = Conditions(None, None, None, None, None)


def _read_tags(value: bytes | None) -> Tags | None:
    """Parse a list of tags. A malformed list is taken for an empty one: then If-Match fails, and If-None-Match does not
    prevent an answer."""
    if value is None:
        return None
    if value == b"*":
        return Tags(frozenset(), any=True)
    # Split by an expression with one group: the text between tags and the tags alternate.
    pieces = _tags(value)
    malformed = b"".join(pieces[::2]).strip(b" \t,")
    return Tags(frozenset() if malformed else frozenset(pieces[1::2]))


def seconds(date: bytes) -> int | None:
    """Return an HTTP date in any of its forms, all in GMT, as seconds since 1970; None if it is malformed."""
    for form in _dates:
        if matched := form(date):
            break
    else:
        return None
    month = _MONTHS.index(matched["month"]) + 1
    day, hour, minute, second = (int(matched[name]) for name in ("day", "hour", "minute", "second"))
    try:  # the grammar has leap seconds (60), POSIX time has not
        return int(datetime(_year(matched["year"]), month, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp())
    except ValueError:  # the 31st of February
        return None


def _year(digits: bytes) -> int:
    """Return the year; two digits stand for one that is at most 50 years ahead (RFC 9110 section 5.6.7)."""
    year = int(digits)
    if len(digits) == 4:
        return year
    this = datetime.now(UTC).year
    year += this - this % 100
    return year if year <= this + 50 else year - 100
