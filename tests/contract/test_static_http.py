"""Static files over real sockets: parts, conditions, coded files, and files that change while they are sent.

What each means is tested beside the code, without a server; here it goes through every model's way of moving bytes. The
application has no part in it, so one interface will do.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.client import Connection
from support.marks import cases, engine_decides
from support.server import Server
from support.static_tree import BIG
from support.waiting import wait_until

HUGE = 16 << 20
"""More than a socket takes in (tcp_wmem, 4 MiB, and what the client lets come)."""


@pytest.fixture
def interface() -> str:
    return "wsgi"


@cases("value", everywhere=["1000000-1999999"], once=["0-0", "-70000"])
def test_part(server: Server, value: str) -> None:
    first, _, last = value.partition("-")
    wanted = BIG[int(first) : int(last) + 1] if first else BIG[-int(last) :]
    with server.connect() as connection:
        response = connection.request("GET", "/files/big.bin", f"Range: bytes={value}")
        assert (response.status, response.body == wanted, response.framing) == (206, True, "length")
        assert connection.request("GET", "/files/plain.txt").body == b"plain text\n"


@cases(
    "spans",
    everywhere=[[(0, 10), (100, 200_000), (len(BIG) - 1, len(BIG))]],
    once=[[(i, i + 9) for i in range(0, 640, 10)]],
)
def test_parts(server: Server, spans: list[tuple[int, int]]) -> None:
    """Streamed between other answers on the same connection, whose framing it must not upset."""
    value = ",".join(f"{start}-{stop - 1}" for start, stop in spans)
    with server.connect() as connection:
        response = connection.request("GET", "/files/big.bin", f"Range: bytes={value}")
        assert (response.status, response.framing) == (206, "length")
        boundary = (response.get("content-type") or "").partition("boundary=")[2].encode()
        pieces = response.body.split(b"--" + boundary)
        contents = [piece.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for piece in pieces[1:-1]]
        assert contents == [BIG[start:stop] for start, stop in spans]
        assert connection.request("GET", "/files/big.bin", "Range: bytes=9999999-").status == 416
        assert connection.request("HEAD", "/files/big.bin", "Range: bytes=0-9").status == 200
        assert connection.request("GET", "/files/plain.txt").body == b"plain text\n"


@engine_decides
@pytest.mark.parametrize(
    ("field", "status", "length"),
    [
        ("If-Match: {}", 206, 5),
        ('If-Match: "x"', 412, None),
        ("If-None-Match: {}", 304, 0),
        ("If-Range: {}", 206, 5),
        ('If-Range: "x"', 200, len(BIG)),
    ],
)
def test_conditions(server: Server, field: str, status: int, length: int | None) -> None:
    with server.connect() as connection:
        tag = connection.request("HEAD", "/files/big.bin").get("etag")
        response = connection.request("GET", "/files/big.bin", "Range: bytes=1-5", field.format(tag))
        assert response.status == status
        assert length is None or len(response.body) == length
        assert connection.request("GET", "/files/plain.txt").body == b"plain text\n"


@engine_decides
def test_coded_files(server: Server, static_tree: Path, token: str) -> None:
    """One that is held in memory and one that is not."""
    contents = {None: b"page" * 50_000, "gzip": b"zipped" * 50_000, "br": b"short"}
    for coding, suffix in ((None, ""), ("gzip", ".gz"), ("br", ".br")):
        (static_tree / f"{token}.html{suffix}").write_bytes(contents[coding])
    with server.connect() as connection:
        for coding, content in contents.items():
            response = connection.request("GET", f"/files/{token}.html", f"Accept-Encoding: {coding}")
            assert (response.status, response.get("content-encoding"), response.body) == (200, coding, content)
            assert (response.get("vary"), response.get("content-type")) == (
                "Accept-Encoding",
                "text/html; charset=utf-8",
            )


@engine_decides
def test_options(server: Server) -> None:
    with server.connect() as connection:
        response = connection.request("OPTIONS", "/files/plain.txt")
        assert (response.status, response.get("allow")) == (204, "GET, HEAD, OPTIONS")
        assert connection.request("GET", "/files/plain.txt").status == 200


# A file that changes while it is sent


@pytest.fixture
def huge(static_tree: Path, token: str) -> Iterator[Path]:
    """A file of zeros that no socket takes in one piece, and that was last changed long ago."""
    path = static_tree / f"{token}.bin"
    with path.open("wb") as file:
        file.truncate(HUGE)
    os.utime(path, (0, 0))
    yield path
    path.unlink()


def begin(server: Server, path: Path) -> Connection:
    """A connection whose answer has come as far as its head, and waits for the client to read."""
    connection = Connection(server.address, receive_buffer=1 << 16)
    connection.send(f"GET /files/{path.name} HTTP/1.1\r\nHost: example.test\r\n\r\n".encode())
    assert connection.read_head().get("content-length") == str(HUGE)
    return connection


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x" * HUGE)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def truncate(path: Path) -> None:
    os.truncate(path, HUGE // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


@cases("change", everywhere=[rewrite, truncate], once=[append, empty])
def test_change_is_noticed(server: Server, huge: Path, change: Callable[[Path], None]) -> None:
    """The client sees that it has not got the whole, and the log says why."""
    position = len(server.stderr())
    with begin(server, huge) as connection:
        change(huge)
        assert len(connection.read_to_end()) < HUGE
    complaint = f"/files/{huge.name} changed while it was sent"
    wait_until(lambda: complaint in server.stderr()[position:], f"a line about {huge.name}")
    assert server.get("/files/plain.txt").status == 200


def test_replaced_file_goes_out_whole(server: Server, huge: Path) -> None:
    """What was opened is still what it was: that is how a file is to be changed under its readers."""
    other = huge.with_suffix(".new")
    other.write_bytes(b"x" * HUGE)
    with begin(server, huge) as connection:
        other.replace(huge)
        content = bytearray()
        while len(content) < HUGE:
            content += connection.read_some(1 << 20)
        assert content == bytes(HUGE)
        assert connection.request("GET", f"/files/{huge.name}", "Range: bytes=0-4").body == b"xxxxx"
