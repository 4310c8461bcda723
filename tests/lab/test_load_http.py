"""The generator as an HTTP client: headers that replace its own, credentials, sockets and addresses, cookies."""

import socket
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from septet.lab.load import LoadError, Plan, Target, run
from septet.lab.load.answer import Answer, Malformed
from septet.lab.load.requests import Jar
from septet.lab.load_command import load as command
from support.scripted_server import ANSWER, Connection, ScriptedServer, keep_answering
from support.waiting import in_time_enough


def load(url: str, *targets: Target, **changes: Any) -> dict[str, Any]:
    return run(Plan(**{"url": url, "users": 2, "duration_s": 0.2, "warmup_s": 0.0, "targets": targets, **changes}))


def head_of(url: str, *targets: Target, **changes: Any) -> list[str]:
    """The lines of the first request's head."""

    def heads(duration_s: float) -> list[str]:
        load(server.url.replace("127.0.0.1", url), *targets, users=1, duration_s=duration_s, **changes)
        return [head.decode() for head, _ in server.messages]

    with ScriptedServer(keep_answering) as server:
        return in_time_enough(heads, bool, 0.2)[0].split("\r\n")


def values(lines: list[str], name: str) -> list[str]:
    return [value.strip() for key, _, value in (line.partition(":") for line in lines[1:]) if key.lower() == name]


# Requests


@pytest.mark.parametrize("spelling", ["Host: shop.example", "host:shop.example"])
def test_host_is_replaced(spelling: str) -> None:
    lines = head_of("127.0.0.1", headers=(spelling,))
    assert lines[1] == spelling
    assert values(lines, "host") == ["shop.example"]


def test_length_and_agent_are_replaced() -> None:
    headers = ("content-length: 0", "User-Agent: a", "X: 1", "X: 2")
    lines = head_of("127.0.0.1", Target("/", method="POST", headers=("user-agent: b",)), headers=headers)
    assert values(lines, "content-length") == ["0"]
    assert values(lines, "user-agent") == ["b"]
    assert values(lines, "x") == ["1", "2"]


def test_credentials_of_the_url() -> None:
    lines = head_of("us%C3%A9r:p%40ss@127.0.0.1")
    assert values(lines, "authorization") == ["Basic dXPDqXI6cEBzcw=="]
    assert "@" not in values(lines, "host")[0]
    assert values(head_of("user@127.0.0.1"), "authorization") == ["Basic dXNlcjo="]
    assert values(head_of("a:b@127.0.0.1", headers=("Authorization: Bearer x",)), "authorization") == ["Bearer x"]
    assert values(head_of("127.0.0.1"), "authorization") == []


@pytest.mark.parametrize("header", ["NoColon", ": x", "A B: c", "Ä: b", "", "A : b"])
def test_what_is_no_header_is_refused(header: str) -> None:
    with pytest.raises(LoadError, match="NAME: VALUE"):
        Plan("http://h/", headers=(header,))
    with pytest.raises(LoadError, match="NAME: VALUE"):
        Target("/", headers=(header,))
    result = CliRunner().invoke(command, ["http://127.0.0.1:1/", "--header", header])
    assert "NAME: VALUE" in str(result.exception)


@pytest.mark.parametrize("header", ["Connection: close", "connection: x, CLOSE"])
def test_close_is_obeyed(header: str) -> None:
    """Even where the server would have gone on."""

    def goes_on(connection: Connection) -> None:
        while connection.request():
            connection.send(ANSWER)

    with ScriptedServer(goes_on) as server:
        figures = load(server.url, headers=(header,))
        assert (figures["errors"], figures["reconnects"]) == ({}, 0)
        assert server.connections >= server.requests > 2
        assert all(len(values(head.decode().split("\r\n"), "connection")) == 1 for head, _ in server.messages)


def test_close_of_one_target() -> None:
    with ScriptedServer(keep_answering) as server:
        figures = load(server.url, Target("/a"), Target("/b", headers=("Connection: close",)), users=1)
        assert (figures["errors"], figures["reconnects"]) == ({}, 0)
        assert abs(server.connections - server.requests / 2) <= 2


# Answers


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"X: a\r\n b\r\n\tc\r\nContent-Length: 5", b"hello"),
        (b"Content-Length:\r\n 5", b"hello"),
        (b"Transfer-Encoding:\r\n\tchunked", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Content-Length: 5, 5", b"hello"),
        (b"Content-Length: 5,5\r\nContent-Length: 5", b"hello"),
        (b"Transfer-Encoding: , chunked ,", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Content-Length: 9\r\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
def test_answers_are_read_as_the_standard_says(fields: bytes, body: bytes) -> None:
    answer = Answer(keeps_body=True)
    assert answer.feed(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n" + body)
    assert answer.body == b"hello"


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 5, 6", b"Content-Length: 5, x", b"Content-Length:", b" X: a\r\nContent-Length: 5"]
)
def test_answers_without_a_sure_length_are_malformed(fields: bytes) -> None:
    with pytest.raises(Malformed):
        Answer().feed(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\nhello")


@pytest.mark.parametrize("coding", [b"xchunked", b"chunked, gzip", b"identity"])
def test_coding_that_is_not_chunked_lasts_until_the_end(coding: bytes) -> None:
    answer = Answer()
    assert not answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n")
    assert answer.feed(b"")


# Where the server is


def listening_on(family: socket.AddressFamily, address: Any) -> socket.socket:
    sock = socket.socket(family)
    sock.bind(address)
    sock.listen(100)
    return sock


@pytest.mark.parametrize("abstract", [False, True])
@pytest.mark.parametrize("mode", ["keep-alive", "close"])
@pytest.mark.parametrize(("target", "asked"), [(":/a/b?c", "/a/b?c"), ("", "/")])
def test_unix_socket(tmp_path: Path, abstract: bool, mode: str, target: str, asked: str) -> None:
    path = f"@septet-{tmp_path.name}-{mode}" if abstract else str(tmp_path / "socket")
    with ScriptedServer(
        keep_answering, listener=listening_on(socket.AF_UNIX, path.replace("@", "\0") if abstract else path)
    ) as server:
        figures = in_time_enough(
            lambda duration_s: load(f"unix:{path}{target}", mode=mode, duration_s=duration_s),
            lambda figures: figures["answers"] > 4,
            0.2,
        )
        assert figures["errors"] == {}
        assert figures["answers"] > 4
        lines = server.messages[0][0].decode().split("\r\n")
        assert (lines[0], values(lines, "host")) == (f"GET {asked} HTTP/1.1", ["localhost"])


def test_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="nothing listens"):
        load(f"unix:{tmp_path}/none")
    with pytest.raises(LoadError, match="unix:SOCKET"):
        load("unix:")


def test_all_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `localhost` is [::1] first, where many a server does not listen."""
    with ScriptedServer(keep_answering) as server, socket.socket() as nobody:
        nobody.bind(("127.0.0.3", 0))
        port = int(server.url.split(":")[2].split("/")[0])
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.3", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
        figures = load(f"http://two.example:{port}/")
        assert figures["errors"] == {}
        assert figures["answers"] > 2


# Cookies


def test_cookies_go_where_their_path_says() -> None:
    jar = Jar()
    jar.take([b"a=1; Path=/shop", b"b=2; path=/", b"c=3", b"d=4; Path=x"], b"/shop/cart?x=/y/", 0)
    assert jar.header(b"/shop/cart") == b"a=1; c=3; d=4; b=2"
    assert jar.header(b"/shop?q") == b"a=1; c=3; d=4; b=2"
    assert jar.header(b"/shopping") == jar.header(b"/") == b"b=2"
    jar.take([b"b=5; Path=/", b"b=6; Path=/shop"], b"/", 0)
    assert jar.header(b"/shop/") == b"a=1; c=3; d=4; b=6; b=5"


def test_cookies_end() -> None:
    now = 1_700_000_000.0
    past, future = (formatdate(now + seconds, usegmt=True).encode() for seconds in (-60, 60))
    jar = Jar()
    jar.take([b"a=1; Expires=" + future, b"b=2; Expires=" + past, b"c=3; Max-Age=10; Expires=" + past], b"/", now)
    jar.take([b"d=4; Expires=Wednesday, 09-Nov-33 23:12:40 GMT", b"e=5; Expires=never", b"f=6; Max-Age=-1"], b"/", now)
    assert jar.header(b"/") == b"a=1; c=3; d=4; e=5"
    assert not jar.drop_ended(now + 5)
    assert jar.drop_ended(now + 10)
    assert jar.header(b"/") == b"a=1; d=4; e=5"
    jar.take([b"a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT", b"d=; Max-Age=0"], b"/", now)
    assert jar.header(b"/") == b"e=5"


def test_cookies_of_one_path_are_not_sent_to_another() -> None:
    def gives(connection: Connection) -> None:
        while connection.request():
            cookies = b"Set-Cookie: a=b; Path=/in\r\nSet-Cookie: c=d; Max-Age=1\r\n"
            connection.send(b"HTTP/1.1 200 OK\r\n%bContent-Length: 2\r\n\r\nok" % cookies)

    with ScriptedServer(gives) as server:
        load(server.url, Target("/in/x"), Target("/out"), users=1, cookies=True)
        heads = [head for head, _ in server.messages[2:]]
        assert all((b"a=b" in head) is head.startswith(b"GET /in") for head in heads)


def test_cookie_that_ends_during_the_run() -> None:
    given = []

    def gives_one(connection: Connection) -> None:
        while connection.request():
            cookies = b"" if given else b"Set-Cookie: a=b; Max-Age=1\r\n"
            given.append(1)
            time.sleep(0.01)
            connection.send(b"HTTP/1.1 200 OK\r\n%bContent-Length: 2\r\n\r\nok" % cookies)

    with ScriptedServer(gives_one) as server:
        load(server.url, users=1, cookies=True, duration_s=2.0)
        sent = [b"Cookie: a=b" in head for head, _ in server.messages]
        assert sent[1]
        assert not sent[-1]


# How many, and which are right


@pytest.mark.parametrize("rate", [20.0, 50.0])
def test_no_request_too_many_without_a_warm_up(rate: float) -> None:
    with ScriptedServer(keep_answering) as server:
        figures = load(server.url, rate=rate, duration_s=0.5, users=5)
        assert figures["due"] == figures["answers"] == server.requests == int(rate * 0.5)
        assert figures["warmup"]["answers"] == 0


def answering_lengths(*lengths: int) -> Any:
    """Bodies of these lengths, in turn, and then as long as the last."""
    left = list(lengths)

    def script(connection: Connection) -> None:
        while connection.request():
            length = left.pop(0) if len(left) > 1 else left[0]
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length)

    return script


@pytest.mark.parametrize(
    ("lengths", "errors"),
    [((5, 6, 7), 0), ((5, 6, 5, 6), 0), ((5, 5, 6, 5), 1), ((5, 5, 5, 5, 4, 5), 1), ((0, 0, 5, 0), 1)],
)
def test_page_whose_length_varies_is_known_by_its_first_two_answers(lengths: tuple[int, ...], errors: int) -> None:
    def measure(duration_s: float) -> dict[str, Any]:
        with ScriptedServer(answering_lengths(*lengths)) as server:
            return load(server.url, users=1, duration_s=duration_s)

    figures = in_time_enough(measure, lambda figures: figures["answers"] > len(lengths), 0.3)
    assert sum(figures["errors"].values()) == errors
    assert figures["answers"] > len(lengths)


def test_length_that_was_asked_for_does_not_vary() -> None:
    with ScriptedServer(answering_lengths(5, 6, 6)) as server:
        assert set(load(server.url, users=1, expect_length=5)["errors"]) == {"length"}
