"""Round trips: requests written by h11 and parsed here, chunked bodies, and our answers parsed by h11."""

from itertools import pairwise

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from support.answers import Said, check
from support.feeding import Reader
from support.laws import cut

TOKEN = st.from_regex(r"[!#$%&'*+\-.^`|~0-9A-Za-z]{1,12}", fullmatch=True).map(str.encode)
VALUE = st.from_regex(rb"([!-~\x80-\xff]([\t -~\x80-\xff]{0,20}[!-~\x80-\xff])?)?", fullmatch=True)
TARGET = st.from_regex(r"/[!-\"$->@-~]{0,20}(\?[!-\"$-~]{0,10})?", fullmatch=True).map(str.encode)
PLACES = st.lists(st.integers(0, 1 << 16), max_size=20)

READ_BY_ALL = {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"}
FROM_PROXIES = {b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"}
FIELDS = st.lists(
    st.tuples(TOKEN.filter(lambda name: name.lower() not in READ_BY_ALL | FROM_PROXIES), VALUE), max_size=5
)


@given(method=TOKEN, target=TARGET, fields=FIELDS, parts=st.lists(st.binary(max_size=50), max_size=5),
       by_length=st.booleans(), places=PLACES)  # fmt: skip
def test_requests_that_h11_writes(
    method: bytes,
    target: bytes,
    fields: list[tuple[bytes, bytes]],
    parts: list[bytes],
    by_length: bool,
    places: list[int],
) -> None:
    if method == b"CONNECT":
        return
    body = b"".join(parts)
    framing = (b"Content-Length", b"%d" % len(body)) if by_length else (b"Transfer-Encoding", b"chunked")
    client = h11.Connection(h11.CLIENT)
    head = h11.Request(method=method, target=target, headers=[(b"Host", b"a.test"), *fields, framing])
    data = b"".join(
        client.send(event) or b"" for event in (head, *(h11.Data(data=part) for part in parts), h11.EndOfMessage())
    )
    reader = Reader().feed_all(cut(data, places))
    request = reader.only
    assert (request.method.encode(), request.target) == (method, target)
    said = [(name.lower(), value) for name, value in fields]
    assert [each for each in request.fields if each[0] not in READ_BY_ALL] == said
    assert reader.seen[0].body == body
    assert reader.connection.pending == 0


EXTENSION = st.from_regex(
    r'([ \t]*;[ \t]*[a-z]{1,5}([ \t]*=[ \t]*([a-z]{1,5}|"([ !#-Z]|\\"){0,5}"))?){0,3}', fullmatch=True
)


@given(body=st.binary(max_size=200), edges=PLACES, extension=EXTENSION, zeros=st.integers(0, 8), upper=st.booleans(),
       trailers=FIELDS, places=PLACES)  # fmt: skip
def test_chunks(
    body: bytes,
    edges: list[int],
    extension: str,
    zeros: int,
    upper: bool,
    trailers: list[tuple[bytes, bytes]],
    places: list[int],
) -> None:
    """With any division into chunks, any extensions and any trailers."""
    ends = sorted({0, len(body), *(edge % (len(body) + 1) for edge in edges)})
    coded = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    for start, end in pairwise(ends):
        size = f"{end - start:0{zeros}x}"
        coded += f"{size.upper() if upper else size}{extension}\r\n".encode() + body[start:end] + b"\r\n"
    coded += b"0" + extension.encode() + b"\r\n" + b"".join(b"%b: %b\r\n" % field for field in trailers) + b"\r\n"
    reader = Reader().feed_all(cut(coded, places))
    assert reader.only.chunked
    assert reader.seen[0].body == body
    assert reader.connection.pending == 0


SAID = st.builds(
    Said,
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    version=st.sampled_from(["1.0", "1.1"]),
    status=st.sampled_from([200, 201, 204, 206, 302, 304, 404, 418, 500, 599]),
    reason=st.sampled_from([b"OK", b"", b"I'm a teapot", b"\xe9 !"]),
    fields=FIELDS
    | st.lists(
        st.tuples(
            st.sampled_from([b"Content-Length", b"Connection", b"Transfer-Encoding", b"Keep-Alive", b"Date", b"X"]),
            st.sampled_from([b"0", b"5", b"1000", b"close", b"keep-alive", b"chunked", b"gzip", b"", b" 5"]),
        ),
        max_size=3,
    ),
    parts=st.lists(st.binary(max_size=12), min_size=1, max_size=4).map(tuple),
).map(lambda said: Said(said.method, said.version, said.status, said.reason, tuple(said.fields), said.parts))


@given(SAID)
@example(Said("GET", "1.1", 200, b"OK", ((b"A", b"b\r\nC: d"),), (b"",)))
@example(Said("GET", "1.1", 200, b"OK\r\nA: b", (), (b"",)))
@example(Said("GET", "1.1", 204, b"", ((b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")), (b"hello",)))
@example(Said("HEAD", "1.0", 200, b"", (), (b"hello", b" world")))
def test_answers_are_read_as_they_were_said(said: Said) -> None:
    check(said)


WILD = st.binary(max_size=8)


WILD_FIELDS = st.lists(st.tuples(WILD, WILD), max_size=3).map(tuple)
WILD_PARTS = st.lists(WILD, min_size=1, max_size=3).map(tuple)


@given(st.builds(Said, st.just("GET"), st.just("1.1"), st.integers(0, 999), WILD, WILD_FIELDS, WILD_PARTS))
def test_answers_of_any_bytes_are_refused_or_read(said: Said) -> None:
    """CVE-2018-1000164: a line end in a field split the answer. CVE-2026-42545: a bad field ended the process."""
    check(said)
