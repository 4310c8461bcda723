"""Byte ranges (RFC 9110 section 14): parsing, merging, refusals, and several ranges in one answer."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.apps.static import IN_MEMORY
from septet.apps.static.ranges import MAX_RANGES, Span, read_ranges, select
from support.messages import pattern

Get = Callable[..., Any]

LARGE = pattern(IN_MEMORY + 1)


def selected(value: str, size: int) -> list[tuple[int, int]] | None:
    """The spans that a Range field selects; None if it is ignored."""
    specs = read_ranges(value.encode("latin-1"))
    return None if specs is None else [tuple(span) for span in select(specs, size)]


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=2-5", [(2, 6)]),
        ("BYTES=2-5", [(2, 6)]),
        ("bytes=2-", [(2, 10)]),
        ("bytes=-3", [(7, 10)]),
        ("bytes=-30", [(0, 10)]),
        ("bytes=5-99999999999999999999999999", [(5, 10)]),
        ("bytes=0000000000000000000000005-6", [(5, 7)]),
        ("bytes=9-9", [(9, 10)]),
        ("bytes= 1-2 ,\t4-5", [(1, 3), (4, 6)]),
        ("bytes=,1-2,,4-5,", [(1, 3), (4, 6)]),
        ("bytes=6-7,1-2", [(6, 8), (1, 3)]),
        ("bytes=0-3,2-5", [(0, 6)]),
        ("bytes=2-5,0-3", [(0, 6)]),
        ("bytes=0-3,4-5", [(0, 6)]),
        ("bytes=8-,0-0,-1,1-1", [(8, 10), (0, 2)]),
        ("bytes=0-,0-,0-", [(0, 10)]),
        ("bytes=1-2,50-60", [(1, 3)]),
    ],
)
def test_selected(value: str, spans: list[tuple[int, int]]) -> None:
    assert selected(value, 10) == spans


@pytest.mark.parametrize(
    "value", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=999999999999999999999-", "bytes=20-30,40-50"]
)
def test_not_satisfiable(value: str) -> None:
    assert selected(value, 10) == []


@pytest.mark.parametrize(
    "value",
    ["", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=x", "bytes=1", "bytes=2-1", "bytes=1-2-3", "bytes=1-2x",
     "bytes=+1-2", "bytes=1 - 2", "bytes=0x1-2", "bytes=1_0-20", "bytes=--1", "bytes=\xb2-\xb3", "bytes 1-2",
     " bytes=1-2", "bytes =1-2", "bytes=1-2;", "bytes=1-2\n", "lines=1-2", "bytes=1-2, bytes=4-5", "bytes=1-2,x"],
)  # fmt: skip
def test_ignored(value: str) -> None:
    """Another unit must be ignored, a malformed set may be (RFC 9110 section 14.2)."""
    assert selected(value, 10) is None


def test_too_many() -> None:
    ranges = [f"{2 * i}-{2 * i}" for i in range(MAX_RANGES + 1)]
    assert len(selected("bytes=" + ",".join(ranges[:-1]), 1000) or []) == MAX_RANGES
    assert selected("bytes=" + ",".join(ranges), 1000) == []


@pytest.mark.parametrize("value", ["0-," * 20000, "9" * 60000 + "-", "1" * 30000 + "-" + "2" * 30000, "," * 60000])
def test_longest_field(value: str) -> None:
    """CVE-2025-62727: what a client can send in one field must not keep the server busy."""
    assert selected(f"bytes={value}", 10) in ([], None)


numbers = st.integers(0, 40)
specs = st.one_of(
    st.tuples(numbers, numbers).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    numbers.map(lambda first: f"{first}-"),
    numbers.map(lambda last: f"-{last}"),
)


def bytes_of(spec: str, size: int) -> set[int]:
    """The positions that one range means: section 14.1.2, one byte at a time."""
    first, _, last = spec.partition("-")
    if not first:
        return {place for place in range(size) if place >= size - int(last)}
    return {place for place in range(size) if int(first) <= place and (not last or place <= int(last))}


@settings(deadline=None)
@given(st.lists(specs, min_size=1, max_size=MAX_RANGES), st.integers(1, 40))
def test_selection_is_what_was_asked_for(asked: list[str], size: int) -> None:
    """All bytes asked for, no others, none twice, adjacent ones in one piece, in the order of the request."""
    spans = selected("bytes=" + ",".join(asked), size)
    assert spans is not None
    wanted = [bytes_of(spec, size) for spec in asked]
    got = [place for start, stop in spans for place in range(start, stop)]
    assert len(got) == len(set(got))
    assert set(got) == set().union(*wanted)
    edges = sorted(spans)
    assert all(before[1] < after[0] for before, after in pairwise(edges))
    firsts = [next(i for i, places in enumerate(wanted) if places & set(range(*span))) for span in spans]
    assert firsts == sorted(firsts)


@settings(deadline=None)
@given(st.text(st.sampled_from("0123456789-, \tbytes="), max_size=40))
def test_anything_is_a_set_or_ignored(text: str) -> None:
    for span in selected(text, 10) or []:
        assert 0 <= span[0] < span[1] <= 10


def test_content_range() -> None:
    assert Span(0, 1).content_range(10) == b"bytes 0-0/10"


# As a client meets them

FILES = {"a.txt": b"a text", "large.bin": LARGE}
"""A file that is kept in memory, and one that is sent by sendfile(2)."""


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("value", "part"), [("1-2", slice(1, 3)), ("-3", slice(-3, None)), ("2-99999999", slice(2, None))]
)
def test_one_part(get: Get, name: str, value: str, part: slice) -> None:
    content = FILES[name]
    start, stop, _ = part.indices(len(content))
    answer = get(f"/static/{name}", f"Range: bytes={value}")
    assert (answer.status, answer.body) == (206, content[part])
    assert answer.fields["content-range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert answer.fields["accept-ranges"] == "bytes"
    assert int(answer.fields["content-length"]) == stop - start


@pytest.mark.parametrize("name", FILES)
def test_several_parts(get: Get, name: str) -> None:
    content = FILES[name]
    answer = get(f"/static/{name}", "Range: bytes=4-4,0-0,1-1,-1")
    size = len(content)
    spans = [(4, 5), (0, 2), (size - 1, size)] if size > 6 else [(4, 6), (0, 2)]
    assert answer.status == 206
    assert int(answer.fields["content-length"]) == len(answer.body)
    assert "content-range" not in answer.fields
    kind = get(f"/static/{name}").fields["content-type"]
    assert parts(answer) == [
        ({"content-type": kind, "content-range": f"bytes {start}-{stop - 1}/{size}"}, content[start:stop])
        for start, stop in spans
    ]


def test_boundary_is_not_foreseeable(get: Get) -> None:
    kinds = {get("/static/a.txt", "Range: bytes=0-0,4-4").fields["content-type"] for _ in range(2)}
    assert len(kinds) == 2


@pytest.mark.parametrize("name", FILES)
def test_refused(get: Get, name: str) -> None:
    size = len(FILES[name])
    for value in (f"{size}-", "-0", ",".join(["0-"] * (MAX_RANGES + 1))):
        answer = get(f"/static/{name}", f"Range: bytes={value}")
        assert (answer.status, answer.fields["content-range"]) == (416, f"bytes */{size}")


@pytest.mark.parametrize("field", ["Range: lines=1-2", "Range: bytes=2-1", "Range: bytes=0-0\r\nRange: bytes=1-1"])
def test_whole_file_instead(get: Get, field: str) -> None:
    answer = get("/static/a.txt", field)
    assert (answer.status, answer.body) == (200, b"a text")


def test_head_has_no_ranges(get: Get) -> None:
    """RFC 9110 section 14.2: GET is the only method for which ranges are defined."""
    answer = get("/static/a.txt", "Range: bytes=1-2", method="HEAD")
    assert (answer.status, answer.fields["content-length"]) == (200, "6")
    assert get("/static/a.txt", "Range: bytes=99-", method="HEAD").status == 200


@pytest.mark.parametrize("value", ["0-", "-5", "0-0"])
def test_empty_file(get: Get, value: str) -> None:
    """An empty file has no part that Content-Range could name."""
    answer = get("/static/empty", f"Range: bytes={value}")
    assert (answer.status, answer.body) == (200, b"")


def test_index_has_ranges(get: Get) -> None:
    assert get("/static/", "Range: bytes=4-").body == b"index"


@pytest.mark.parametrize("name", FILES)
def test_if_range(get: Get, name: str) -> None:
    whole = get(f"/static/{name}")
    tag = whole.fields["etag"]
    for validator in (tag, "Sun, 06 Nov 1994 08:49:37 GMT"):
        assert get(f"/static/{name}", "Range: bytes=1-2", f"If-Range: {validator}").status == 206
    for validator in ('"x"', f"W/{tag}", "Sun, 06 Nov 1994 08:49:38 GMT", f"{tag}, {tag}"):
        answer = get(f"/static/{name}", "Range: bytes=1-2", f"If-Range: {validator}")
        assert (answer.status, answer.body) == (200, FILES[name])
    assert get(f"/static/{name}", "Range: bytes=99999999-", 'If-Range: "x"').status == 200


def test_conditions_come_first(get: Get) -> None:
    """RFC 9110 section 13.2.2: Range is evaluated last."""
    tag = get("/static/a.txt").fields["etag"]
    assert get("/static/a.txt", "Range: bytes=1-2", f"If-None-Match: {tag}").status == 304
    assert get("/static/a.txt", "Range: bytes=99-", 'If-Match: "x"').status == 412
    assert get("/static/none", "Range: bytes=1-2").status == 404


def test_part_of_a_coded_file(get: Get, tree: Path) -> None:
    """A range applies to the representation that is sent, not to its decoded content (RFC 9110 section 14)."""
    (tree / "public/a.txt.gz").write_bytes(b"0123456789")
    answer = get("/static/a.txt", "Range: bytes=2-3", "Accept-Encoding: gzip")
    assert (answer.status, answer.body, answer.fields["content-encoding"]) == (206, b"23", "gzip")
    assert answer.fields["content-range"] == "bytes 2-3/10"


def parts(answer: Any) -> list[tuple[dict[str, str], bytes]]:
    """The fields and the content of each part (RFC 9110 section 14.6, RFC 2046 section 5.1)."""
    matched = re.fullmatch(r"multipart/byteranges; boundary=([0-9a-f]{1,70})", answer.fields["content-type"])
    assert matched
    before, *pieces, end = (b"\r\n" + answer.body).split(b"\r\n--" + matched[1].encode())
    assert before.strip() == b""
    assert end == b"--\r\n"
    found = []
    for piece in pieces:
        head, _, content = piece.partition(b"\r\n\r\n")
        lines = head.decode().lower().removeprefix("\r\n").split("\r\n")
        found.append(({name: value for name, _, value in (line.partition(": ") for line in lines)}, content))
    return found
