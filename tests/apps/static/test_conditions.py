"""Conditional requests (RFC 9110 section 13): parsing of dates and tags, and the order of section 13.2.2."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.apps.static.conditions import Validators, read_conditions, seconds

Get = Callable[..., Any]

MTIME = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 section 5.6.7
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
NOW = Validators(b'"now"', DATE.encode(), MTIME, settled=True)


def status(*fields: tuple[str, str]) -> int:
    """The status that the conditions give for a file in the state NOW."""
    conditions = read_conditions({name.lower().encode(): value.encode("latin-1") for name, value in fields})
    return 200 if conditions is None else conditions.status(NOW)


# Dates


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("date", [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_forms_of_a_date(date: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All three forms are in GMT (RFC 9110 section 5.6.7), in any time zone of the server."""
    with in_zone(zone, monkeypatch):
        assert seconds(date.encode()) == MTIME


@pytest.mark.parametrize(
    "date",
    ["", "yesterday", "784111777", "sun, 06 nov 1994 08:49:37 gmt", "Sun, 06 Nov 1994 08:49:37 +0000", f" {DATE}",
     f"{DATE}\n", f"{DATE}, {DATE}", "Sun, 06 Nov 99999 08:49:37 GMT", "Sun, 31 Feb 1994 08:49:37 GMT",
     "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 0000 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT",
     "Sun, \xb2\xb3 Nov 1994 08:49:37 GMT", "Sun Nov 6 08:49:37 1994", "\xff" * 60000],
)  # fmt: skip
def test_no_date(date: str) -> None:
    assert seconds(date.encode("latin-1")) is None


def test_leap_second() -> None:
    assert seconds(b"Sat, 31 Dec 2016 23:59:60 GMT") == seconds(b"Sat, 31 Dec 2016 23:59:59 GMT")


@pytest.mark.parametrize(("ahead", "wraps"), [(0, False), (50, False), (51, True), (99, True)])
def test_two_digits_of_a_year(ahead: int, wraps: bool) -> None:
    """A two-digit year more than 50 years ahead is in the past."""
    year = datetime.now(UTC).year + ahead
    read = seconds(f"Sunday, 01-Mar-{year % 100:02} 00:00:00 GMT".encode())
    assert read is not None
    assert datetime.fromtimestamp(read, UTC).year == year - 100 * wraps


@settings(deadline=None)
@given(st.integers(0, 253402300799))
def test_what_is_sent_is_understood(instant: int) -> None:
    assert seconds(formatdate(instant, usegmt=True).encode()) == instant


# Tags


@pytest.mark.parametrize(
    "value", ['"now"', '"x", "now"', '"a,b" ,\t"now",', "*", ',,"now"', '"", "now"', '"W/", "now"']
)
def test_tag_is_found(value: str) -> None:
    assert status(("If-None-Match", value)) == 304
    assert status(("If-Match", value)) == 200


@pytest.mark.parametrize(
    "value",
    ["", '"x"', "now", '"now', 'now"', '"now" x', "'now'", '"now", x', '"x,"now"', '"n" "ow"', "* , *", '"NOW"'],
)
def test_tag_is_not_found(value: str) -> None:
    """A malformed list counts as empty: If-None-Match does not prevent an answer, If-Match fails."""
    assert status(("If-None-Match", value)) == 200
    assert status(("If-Match", value)) == 412


def test_weak_tag() -> None:
    """RFC 9110 section 8.8.3.2: a weak tag suffices for If-None-Match, not for If-Match."""
    assert status(("If-None-Match", 'W/"now"')) == 304
    assert status(("If-Match", 'W/"now"')) == 412
    assert status(("If-None-Match", 'w/"now"')) == 200


# The order


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"', "If-None-Match": '"now"'}, 412),
        ({"If-Match": '"now"', "If-None-Match": '"now"'}, 304),
        ({"If-Match": '"now"', "If-None-Match": '"x"'}, 200),
        ({"If-Match": '"now"', "If-Unmodified-Since": BEFORE}, 200),
        ({"If-Match": '"x"', "If-Unmodified-Since": DATE}, 412),
        ({"If-Match": '"now"', "If-Modified-Since": DATE}, 304),
        ({"If-Unmodified-Since": DATE}, 200),
        ({"If-Unmodified-Since": BEFORE}, 412),
        ({"If-Unmodified-Since": BEFORE, "If-None-Match": '"now"'}, 412),
        ({"If-Unmodified-Since": DATE, "If-None-Match": '"now"'}, 304),
        ({"If-Unmodified-Since": "nonsense"}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": DATE}, 200),
        ({"If-None-Match": "", "If-Modified-Since": DATE}, 200),
        ({"If-None-Match": '"now"', "If-Modified-Since": BEFORE}, 304),
        ({"If-Modified-Since": DATE}, 304),
        ({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:38 GMT"}, 304),
        ({"If-Modified-Since": BEFORE}, 200),
        ({"If-Modified-Since": "nonsense"}, 200),
        ({"If-Range": '"x"'}, 200),
    ],
)
def test_order(fields: dict[str, str], expected: int) -> None:
    assert status(*fields.items()) == expected


@pytest.mark.parametrize(
    ("value", "settled", "permits"),
    [
        ('"now"', True, True),
        ('"now"', False, True),
        ('W/"now"', True, False),
        ('"x"', True, False),
        ('"now", "x"', True, False),
        (DATE, True, True),
        (DATE, False, False),
        (BEFORE, True, False),
        ("Sun, 06 Nov 1994 08:49:38 GMT", True, False),
        ("*", True, False),
        ("", True, False),
    ],
)
def test_if_range(value: str, settled: bool, permits: bool) -> None:
    """RFC 9110 section 13.1.5: strong comparison; a date must be equal, and must not stand for two states."""
    conditions = read_conditions({b"if-range": value.encode()})
    assert conditions is not None
    now = Validators(NOW.tag, NOW.modified, NOW.modified_s, settled)
    assert conditions.permit_range(now) is permits


# As a client meets them


def test_validators(get: Get) -> None:
    fields = get("/static/a.txt").fields
    assert fields["last-modified"] == DATE.lower()
    assert fields["etag"].startswith('"')
    assert fields["etag"] != get("/static/index.html").fields["etag"]


@pytest.mark.parametrize("name", ["a.txt", "large.bin", "empty", ""])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_unchanged(get: Get, name: str, method: str) -> None:
    tag = get(f"/static/{name}").fields["etag"]
    answer = get(f"/static/{name}", f"If-None-Match: {tag}", method=method)
    assert (answer.status, answer.body, answer.fields["etag"]) == (304, b"", tag)
    assert "last-modified" in answer.fields
    assert "content-length" not in answer.fields


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_precondition_failed(get: Get, method: str) -> None:
    assert get("/static/a.txt", 'If-Match: "x"', method=method).status == 412


@pytest.mark.parametrize(("path", "expected"), [("/static/none", 404), ("/static/sub", 301), ("/static/without/", 404)])
def test_conditions_apply_to_what_is_there(get: Get, path: str, expected: int) -> None:
    """RFC 9110 section 13.2.1: where the answer would not be 200 without them, they are ignored."""
    for field in ("If-None-Match: *", 'If-Match: "x"', f"If-Modified-Since: {DATE}", f"If-Unmodified-Since: {BEFORE}"):
        assert get(path, field).status == expected


def test_several_fields_are_one_list(get: Get) -> None:
    tag = get("/static/a.txt").fields["etag"]
    assert get("/static/a.txt", 'If-None-Match: "x"', f"If-None-Match: {tag}").status == 304
    assert get("/static/a.txt", f"If-Modified-Since: {DATE}", f"If-Modified-Since: {DATE}").status == 200


def test_file_of_tomorrow(get: Get, tree: Path) -> None:
    """RFC 9110 section 8.8.2.1: Last-Modified is not in the future, or clients would not ask again before it."""
    now = time.time()
    os.utime(tree / "public/a.txt", (now + 1e6, now + 1e6))
    read = seconds(get("/static/a.txt").fields["last-modified"].title().replace("Gmt", "GMT").encode())
    assert read is not None
    assert read <= time.time() + 3600


@contextmanager
def in_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the process's time zone for a while."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()
