"""The laws of `support/laws.py` for valid requests, for requests with changed bytes, and for random bytes.

`fuzz/` holds the same laws against inputs that coverage leads to.
"""

from hypothesis import given
from hypothesis import strategies as st

from corpus.cases import CASES
from support.laws import LIMITS, check, cut
from support.lives import WAYS, Life
from support.messages import chunked, render

PLACES = st.lists(st.integers(0, 1 << 16), max_size=30)

TOKENS = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b"\r\n\r\n", b" ", b"\t", b":", b";", b",", b"0", b"5", b"\0", b"\x0b", b"\x85", b"_",
     b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.0",
     b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"a" * 300,
     b"a: b\r\n" * 15]
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request as a client sends it."""
    target = draw(st.from_regex(r"/[a-z%]{0,9}(\?[a-z=&]{0,9})?", fullmatch=True))
    fields = draw(st.lists(st.from_regex(r"X-[a-z]{1,5}: [a-z ]{0,9}", fullmatch=True), max_size=3))
    body = draw(st.binary(max_size=40))
    if draw(st.booleans()):
        fields.append("Expect: 100-continue")
    way = draw(st.sampled_from(["none", "length", "chunks"]))
    if way == "none":
        return render(draw(st.sampled_from(["GET", "HEAD", "x"])), target, *fields)
    if way == "length":
        return render("POST", target, *fields, body=body)
    coded = chunked(body, draw(st.integers(1, 50)), draw(st.sampled_from(["", ";a"])))
    return render("POST", target, *fields, "Transfer-Encoding: chunked", body=coded)


@given(st.lists(requests(), min_size=1, max_size=5), PLACES)
def test_right_requests(several: list[bytes], places: list[int]) -> None:
    """All are answered, in whichever pieces they come and are read."""
    data = b"".join(several)
    check(data, places)
    for way in WAYS:
        life = Life(cut(data, places), way, LIMITS).live()
        assert [answer.status for answer in life.answers] == [200] * len(several)
        assert not life.closed


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Cases of the corpus in a row, with bytes inserted, removed and changed."""
    chosen = draw(st.lists(st.sampled_from([case.data for case in CASES if len(case.data) < 1000]), max_size=3))
    data = bytearray(b"".join(chosen))
    for place, length, text in draw(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 5), TOKENS), max_size=4)):
        start = place % (len(data) + 1)
        data[start : start + length] = text
    return bytes(data)


@given(spoilt(), PLACES)
def test_spoilt_requests(data: bytes, places: list[int]) -> None:
    check(data, places)


@given(st.lists(TOKENS | st.binary(max_size=10), max_size=30).map(b"".join), PLACES)
def test_any_bytes(data: bytes, places: list[int]) -> None:
    check(data, places)
