"""Static files: what is served, how clients' copies are checked, and that nothing outside of the directory is.

The shared servers serve `static_tree` at /files beside an application, which must not be asked for any of it.
"""

import json
from collections.abc import Iterator
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from support.marks import engine_decides, with_one_interface
from support.messages import render
from support.server import Server
from support.static_tree import BIG, FILES, SECRET
from support.waiting import wait_until


@with_one_interface()
@pytest.mark.parametrize("name", ["big.bin", "plain.txt"])
def test_file(server: Server, name: str) -> None:
    assert_is_served(server, name)


@engine_decides
@pytest.mark.parametrize("name", sorted({*FILES} - {"big.bin", "plain.txt"}))
def test_other_file(server: Server, name: str) -> None:
    assert_is_served(server, name)


def assert_is_served(server: Server, name: str) -> None:
    content, media_type = FILES[name]
    response = server.get(f"/files/{quote(name)}")
    assert (response.status, response.framing) == (200, "length")
    assert response.body == content
    assert (response.get("content-type") or "").partition(";")[0] == media_type


@engine_decides
def test_text_says_its_character_set(server: Server) -> None:
    assert (server.get("/files/plain.txt").get("content-type") or "").replace(" ", "").lower().endswith("charset=utf-8")


@engine_decides
@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/files/", b"<p>the root</p>\n"),
        ("/files/index.html", b"<p>the root</p>\n"),
        ("/files/directory/", b"<p>a directory</p>\n"),
        ("/files/plain.txt?query=ignored", b"plain text\n"),
        ("/files/%70lain.txt", b"plain text\n"),
        ("/files/link-in.txt", b"plain text\n"),
        ("/files/bare/../plain.txt", b"plain text\n"),
    ],
)
def test_target(server: Server, target: str, body: bytes) -> None:
    response = server.get(target)
    if ".." in target:  # may be resolved, or refused: it stays inside either way
        assert response.status in (200, 400, 403, 404)
    else:
        assert (response.status, response.body) == (200, body)


@engine_decides
@pytest.mark.parametrize("target", ["/files", "/files/directory"])
def test_directory_without_a_slash(server: Server, target: str) -> None:
    """Relative links of its index would lead astray: the client is sent to the right name, with its query."""
    response = server.get(f"{target}?a=b")
    assert response.status in (301, 302, 307, 308)
    assert (response.get("location") or "").removeprefix("http://example.test") == f"{target}/?a=b"


@engine_decides
def test_redirect_stays_on_the_server(server: Server) -> None:
    """A Location that begins with two slashes would name another host."""
    response = server.get("//files/directory")
    assert not (response.get("location") or "").startswith("//")


@engine_decides
@pytest.mark.parametrize("target", ["/files/none", "/files/bare/", "/files/plain.txt/", "/files/plain.txt/more"])
def test_not_found(server: Server, target: str) -> None:
    response = server.get(target)
    assert response.status == 404
    assert response.framing == "length"


@engine_decides
@pytest.mark.parametrize(
    "target",
    [
        "/files/../secret.txt",
        "/files/../files_secret/secret.txt",
        "/files/%2e%2e/secret.txt",
        "/files/..%2fsecret.txt",
        "/files/%2e%2e%2fsecret.txt",
        "/files/..%5csecret.txt",
        "/files/bare/../../secret.txt",
        "/files/bare/%2e%2e/%2e%2e/secret.txt",
        "/files//../secret.txt",
        "/files/./../secret.txt",
        "/files_secret/secret.txt",
        "/files/link-out.txt",
        "/files/link-out/secret.txt",
        "/files/plain.txt%00",
        "/files/plain.txt%00.png",
        "/files/%00",
        "/files/" + "a" * 300,
        "/files/" + "a/" * 2000,
        "/files/%ff%fe",
        "/files//etc/passwd",
        "/files/%2fetc/passwd",
    ],
)
def test_no_way_out(server: Server, target: str) -> None:
    """Refused or, for names that are the application's, echoed; never a secret, never a 500."""
    with server.connect() as connection:
        connection.send(render("GET", target))
        response = connection.read_response()
    assert SECRET not in response.body
    assert b"root:" not in response.body
    if response.status == 200:
        assert response.get("content-type") == "application/json"
    else:
        assert response.status in (400, 403, 404)


@engine_decides
def test_sibling_prefix_belongs_to_the_application(server: Server) -> None:
    assert json.loads(server.get("/files_secret/a").body)["path"] == "/files_secret/a"


@engine_decides
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods(server: Server, method: str) -> None:
    with server.connect() as connection:
        response = connection.request(method, "/files/plain.txt", body=b"body")
        assert response.status == 405
        assert {"GET", "HEAD"} <= {word.strip() for word in (response.get("allow") or "").split(",")}
        if not response.closes:
            assert connection.request("GET", "/files/plain.txt").body == b"plain text\n"


@engine_decides
def test_head(server: Server) -> None:
    with server.connect() as connection:
        response = connection.request("HEAD", "/files/big.bin")
        assert (response.status, response.get("content-length")) == (200, str(len(BIG)))
        assert connection.request("GET", "/files/plain.txt").status == 200


@engine_decides
def test_last_modified(server: Server, static_tree: Path) -> None:
    stamp = server.get("/files/plain.txt").get("last-modified")
    assert stamp is not None
    changed = (static_tree / "plain.txt").stat().st_mtime
    assert parsedate_to_datetime(stamp).timestamp() == int(changed)
    assert_not_modified(server, f"If-Modified-Since: {stamp}")
    assert_not_modified(server, f"If-Modified-Since: {formatdate(changed + 3600, usegmt=True)}")
    earlier = formatdate(changed - 3600, usegmt=True)
    assert server.get("/files/plain.txt", f"If-Modified-Since: {earlier}").status == 200
    assert server.get("/files/plain.txt", "If-Modified-Since: nonsense").status == 200


@engine_decides
def test_entity_tag(server: Server) -> None:
    tag = server.get("/files/plain.txt").get("etag")
    assert tag is not None
    assert tag.endswith('"')
    opaque = tag.removeprefix("W/")
    assert opaque.startswith('"')
    assert_not_modified(server, f"If-None-Match: {tag}")
    assert_not_modified(server, f'If-None-Match: "other", W/{opaque}')
    assert_not_modified(server, "If-None-Match: *")
    assert server.get("/files/plain.txt", 'If-None-Match: "other"').status == 200


@engine_decides
def test_entity_tag_outweighs_the_date(server: Server) -> None:
    """RFC 9110, section 13.1.3: If-Modified-Since is ignored beside If-None-Match."""
    stamp = server.get("/files/plain.txt").get("last-modified")
    fields = (f"If-Modified-Since: {stamp}", 'If-None-Match: "other"')
    assert server.get("/files/plain.txt", *fields).status == 200


def assert_not_modified(server: Server, field: str) -> None:
    """304, without a body, with what a 200 would have said of the copy (RFC 9110, section 15.4.5)."""
    with server.connect() as connection:
        for method in ("GET", "HEAD"):
            response = connection.request(method, "/files/plain.txt", field)
            assert response.status == 304
            assert response.get("etag") is not None
        assert connection.request("GET", "/files/plain.txt").status == 200


@engine_decides
def test_changed_file_gets_a_new_tag(server: Server, static_tree: Path, token: str) -> None:
    """Changed twice within a second, which Last-Modified alone cannot tell."""
    file = static_tree / f"{token}.txt"
    file.write_bytes(b"one")
    first = server.get(f"/files/{token}.txt")
    file.write_bytes(b"three")
    second = server.get(f"/files/{token}.txt", f"If-None-Match: {first.get('etag')}")
    assert (second.status, second.body) == (200, b"three")
    file.unlink()
    assert server.get(f"/files/{token}.txt").status == 404


def test_big_file_on_http_1_0(server: Server) -> None:
    with server.connect() as connection:
        connection.send(render("GET", "/files/big.bin", version="1.0"))
        assert connection.read_response().body == BIG
        connection.assert_closed()


def test_pipelined_files(server: Server) -> None:
    with server.connect() as connection:
        connection.send((render("GET", "/files/big.bin") + render("GET", "/files/plain.txt")) * 3)
        for _ in range(3):
            assert connection.read_response().body == BIG
            assert connection.read_response().body == b"plain text\n"
        connection.assert_nothing_more()


@pytest.fixture
def alone(model: str, static_tree: Path) -> Iterator[Server]:
    """A server without an application, and with two routes, one inside of the other."""
    options = ["--static", f"/={static_tree}", "--static", f"/inner={static_tree / 'directory'}"]
    options += ["--static-cache-control", "public, max-age=60", "--access-log", "log"]
    with Server("--model", model, *options) as server:
        yield server


def test_without_an_application(alone: Server) -> None:
    assert alone.get("/").body == b"<p>the root</p>\n"
    assert alone.get("/plain.txt").body == b"plain text\n"
    assert alone.get("/inner/").body == b"<p>a directory</p>\n"
    assert alone.get("/inner/plain.txt").status == 404
    assert alone.get("/none").status == 404
    assert alone.get("/../secret.txt").status in (400, 403, 404)
    assert alone.request("POST", "/plain.txt", body=b"").status == 405
    assert not alone.complaints()


def test_cache_control_and_access_log(alone: Server) -> None:
    """Answers about files are logged like all others, with the bytes that went."""
    with alone.connect() as connection:
        assert connection.request("GET", "/plain.txt").get("cache-control") == "public, max-age=60"
        assert (
            connection.request("GET", "/big.bin", "Range: bytes=0-99999").get("cache-control") == "public, max-age=60"
        )
        assert connection.request("GET", "/plain.txt", "If-None-Match: *").get("cache-control") == "public, max-age=60"
        assert connection.request("GET", "/none").get("cache-control") is None
        assert connection.request("DELETE", "/plain.txt").get("cache-control") is None
    expected = ["200 11", "206 100000", "304 0", "404 10", "405 19"]
    wait_until(lambda: logged(alone) == expected, f"{expected} in the access log")


def logged(server: Server) -> list[str]:
    """Status and bytes of each line of the access log."""
    return [" ".join(line.split()[-3:-1]) for line in (server.directory / "log").read_text().splitlines()]
