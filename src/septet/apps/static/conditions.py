"""Conditional requests: does the client have this state of the file already, or another one than it thinks?

RFC 9110 section 13. What a head asks is read once (`read_conditions`); what that means for a file is decided for each
request (`Conditions.status`), in the order of section 13.2.2.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_tags = re.compile(rb'((?:W/)?"[!\x23-\x7e\x80-\xff]*")').split
"""entity-tag, section 8.8.3. A comma may be inside of one."""

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
"""The three forms of HTTP-date, section 5.6.7: the one that is sent, and two that are read as well."""


@dataclass(frozen=True, slots=True)
class Validators:
    """What a client can tell one state of a representation by (section 8.8)."""

    tag: bytes
    """A strong entity tag."""
    modified: bytes
    """The value of Last-Modified."""
    modified_s: int
    """The same, in seconds since 1970."""
    settled: bool
    """Whether the second of `modified` is past, so that no other state can have it (section 8.8.2.2)."""


@dataclass(frozen=True, slots=True)
class Tags:
    """A list of entity tags, or `*`: any that there is."""

    listed: frozenset[bytes]
    any: bool = False

    def has(self, tag: bytes) -> bool:
        """By strong comparison (section 8.8.3.2); `tag` is strong."""
        return self.any or tag in self.listed

    def has_weakly(self, tag: bytes) -> bool:
        """By weak comparison: a weak tag in the list will do."""
        return self.has(tag) or b"W/" + tag in self.listed


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of a request. None: it has no such field, or one that is to be ignored."""

    match: Tags | None
    unmodified_since: int | None
    none_match: Tags | None
    modified_since: int | None
    if_range: bytes | None

    def status(self, now: Validators) -> int:
        """304 or 412 when the file's state ends it, else 200: section 13.2.2, steps 1 to 4, for GET and HEAD."""
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
        """Step 5: whether the client has another part of this very state, if it has asked that (section 13.1.5)."""
        if self.if_range is None or self.if_range == now.tag:
            return True
        return now.settled and self.if_range == now.modified


def read_conditions(said: Mapping[bytes, bytes]) -> Conditions | None:
    """The conditions among the fields of a head, by their names in lower case; None where there are none.

    A date beside the tags that outweigh it, or one that is no date, is ignored (sections 13.1.3 and 13.1.4).
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
    """A malformed list holds nothing: then If-Match fails, and If-None-Match keeps nothing from being sent."""
    if value is None:
        return None
    if value == b"*":
        return Tags(frozenset(), any=True)
    # Split by an expression with one group: what is between the tags, and the tags, take turns.
    pieces = _tags(value)
    malformed = b"".join(pieces[::2]).strip(b" \t,")
    return Tags(frozenset() if malformed else frozenset(pieces[1::2]))


def seconds(date: bytes) -> int | None:
    """An HTTP date as seconds since 1970, None for what is not one. It is in GMT, whichever of its forms it has."""
    for form in _dates:
        if matched := form(date):
            break
    else:
        return None
    month = _MONTHS.index(matched["month"]) + 1
    day, hour, minute, second = (int(matched[name]) for name in ("day", "hour", "minute", "second"))
    try:  # a leap second (60) is in the grammar, and not in POSIX time
        return int(datetime(_year(matched["year"]), month, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp())
    except ValueError:  # the 31st of February
        return None


def _year(digits: bytes) -> int:
    """Section 5.6.7: two digits mean a year that is not more than 50 years ahead."""
    year = int(digits)
    if len(digits) == 4:
        return year
    this = datetime.now(UTC).year
    year += this - this % 100
    return year if year <= this + 50 else year - 100
