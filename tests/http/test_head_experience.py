"""Earlier heads never change how a head is parsed: compared with a parser that caches nothing.

Lines and names that have come before are looked up (`http.sections`). Once whole sections were, by their *outline*,
which left out the values that differ, and one client's fields reached another. So each head here comes to a parser with
experience, most differ in their values only, and some are made to look like an outline without being one.
"""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from septet.exchange import ProtocolError, Request
from septet.http.request_head import parse_request

Fields = tuple[tuple[bytes, bytes], ...]

field_line = re.compile(rb"([!#$%&'*+\-.^`|~0-9A-Za-z]+):([\t\x20-\x7E\x80-\xFF]*)").fullmatch

LEARNED = (b"X-Id", b"x-id", b"Cookie", b"cookie", b"Referer", b"A")
"""Names whose values differ from request to request."""

BEGINNING = b"GET / HTTP/1.1\r\nHost: a\r\nB: c"


def plainly(block: bytes) -> Fields | None:
    """The fields of a head, line by line; None for one that is malformed. It knows nothing of framing."""
    matches = [field_line(line) for line in block.split(b"\r\n")[1:]]
    if None in matches:
        return None
    return tuple((match[1].lower(), match[2].strip(b" \t")) for match in matches if match)


def parse(block: bytes) -> Request:
    return parse_request(block.split(b"\r\n"))


def with_experience(block: bytes) -> tuple[Fields, int] | None:
    """The fields as the application sees them, and the body's length; None for a head that is refused."""
    try:
        request = parse(block)
    except ProtocolError:
        return None
    return request.fields, request.content_length


@pytest.fixture(autouse=True, scope="module")
def _experience() -> None:
    for number in range(400):
        parse(BEGINNING + b"".join(b"\r\n%b: %d" % (name, number) for name in LEARNED))


NAMES = st.sampled_from(LEARNED)
VALUES = st.integers(0, 1 << 32).map(b" %d".__mod__) | st.sampled_from([b"", b" b", b"\t c \t", b" a: b", b" X-Id"])
LINES = st.tuples(NAMES, VALUES).map(b":".join)
WRONG = st.sampled_from(
    [b"X-Id", b"X-Id :1", b" X-Id: 1", b"X-Id: 1\nA: b", b"X-Id: 1\rA: b", b"X-Id\r", b"\rX-Id\r", b"\rX-Id",
     b"X-Id:\r", b"X-Id: \0", b"Cookie: \x0b", b"Cookie: \x7f", b"A", b":", b"", b"X-Id\r\rCookie\r",
     b"Cookie: a\n\r\nX-Id: 1"]
)  # fmt: skip
GLUE = st.sampled_from([b"\r\n"] * 12 + [b"\r", b"\n", b"\r\r\n", b""])


@given(st.lists(st.tuples(GLUE, LINES | LINES | LINES | WRONG), max_size=6), st.sampled_from([None, 0, 5]))
@example([(b"\r\n", b"X-Id: 1"), (b"\r\n", b"Cookie: a\nb")], None)
@example([(b"\r", b"X-Id"), (b"\r", b""), (b"\r\n", b"Cookie: 1")], None)
def test_experience_changes_nothing(pieces: list[tuple[bytes, bytes]], length: int | None) -> None:
    block = BEGINNING + b"".join(glue + line for glue, line in pieces)
    if length is not None:
        block += b"\r\nContent-Length: %d" % length
    fields = plainly(block)
    expected = None if fields is None else (fields, length or 0)
    for _ in range(3):
        assert with_experience(block) == expected


WRONG_VALUES = st.sampled_from(
    [b"\0", b" a\x0b", b"\n", b" a\nB: c", b"\x1f", b"\x7f", b" a\n\r\nB: c", b"\r", b" a\rB: c"]
)


@given(st.lists(NAMES, min_size=1, max_size=5), st.integers(0, 4), WRONG_VALUES, st.integers(0, 1 << 32))
def test_what_is_known_excuses_nothing(names: list[bytes], place: int, wrong: bytes, number: int) -> None:
    """A head resembles earlier valid heads, but one value is malformed."""
    values = [b" %d" % (number + place) for place in range(len(names))]
    for _ in range(3):
        assert with_experience(head(names, values)) == (plainly(head(names, values)), 0)
    values[place % len(names)] = wrong
    assert with_experience(head(names, values)) is None


LINE_OR_IMITATION = st.sampled_from([b"\r\n%b: 1", b"\r\n%b: 1", b"\r%b\r", b"\r\n%b:\r", b"\r%b:\r", b"\r\r\n%b:"])


@given(st.lists(NAMES, min_size=1, max_size=4), st.lists(LINE_OR_IMITATION, min_size=4, max_size=4), st.integers(0, 99))
def test_an_outline_is_no_head(names: list[bytes], lines: list[bytes], number: int) -> None:
    """A bare CR could look like the end of a value."""
    values = [b" %d" % (number + place) for place in range(len(names))]
    for _ in range(3):
        assert with_experience(head(names, values)) is not None
    block = BEGINNING + b"".join(line % name for name, line in zip(names, lines, strict=False))
    assert (with_experience(block) is None) == (plainly(block) is None)


@given(st.lists(st.tuples(st.permutations(LEARNED), st.lists(VALUES, min_size=6, max_size=6)), min_size=2, max_size=5))
def test_values_stay_with_their_own_request(heads: list[tuple[list[bytes], list[bytes]]]) -> None:
    """In any order of the fields, and with any heads in between."""
    for _ in range(3):
        for names, values in heads:
            assert with_experience(head(names, values)) == (plainly(head(names, values)), 0)


def head(names: list[bytes], values: list[bytes]) -> bytes:
    return BEGINNING + b"".join(b"\r\n%b:%b" % pair for pair in zip(names, values, strict=True))


SHORT_LINES = st.tuples(st.sampled_from((*LEARNED, b"D")), st.sampled_from([b"", b" 1", b" 2"])).map(b":".join)


@given(st.lists(SHORT_LINES, min_size=2, max_size=6, unique_by=lambda line: line[:4].lower()), st.data())
def test_a_head_takes_nothing_from_a_longer_one(lines: list[bytes], data: st.DataObject) -> None:
    """A head equals another one without some of its lines."""
    fewer = [line for line in lines if data.draw(st.booleans())]
    for block in (lines, fewer, lines, fewer):
        whole = b"\r\n".join((BEGINNING, *block))
        assert with_experience(whole) == (plainly(whole), 0)


def test_an_empty_value_leaves_the_lines_before_it_in_the_outline() -> None:
    """Once it did not, and a head without these lines was parsed as if it had them."""
    parse(BEGINNING + b"\r\nX-Id: 1\r\nAuthorization: Basic a\r\nContent-Length: 9\r\nCookie:\r\nD: e")
    request = parse(BEGINNING + b"\r\nX-Id: 2\r\nD: e")
    assert request.fields == ((b"host", b"a"), (b"b", b"c"), (b"x-id", b"2"), (b"d", b"e"))
    assert request.content_length == 0
