"""Static files: what is found, what it is said to be, when it is not sent again, and that nothing else is reached."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from septet.apps.static import IN_MEMORY, Static
from support.messages import pattern, render

Run = Callable[..., Any]
Get = Callable[..., Any]

MTIME = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 section 5.6.7


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory `public`, and beside it what must not be seen."""
    public = tmp_path / "public"
    files = {
        "public/a.txt": b"a text",
        "public/index.html": b"the index",
        "public/empty": b"",
        "public/sub/index.html": b"the other index",
        "public/sub/a bé.txt": b"a name",
        "public/without/a.txt": b"no index here",
        "public/large.bin": pattern(IN_MEMORY + 1),
        "public-secret/a.txt": b"secret",
        "secret.txt": b"secret",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (MTIME, MTIME))
    (public / "inside.txt").symlink_to("a.txt")
    (public / "outside.txt").symlink_to("../secret.txt")
    (public / "outside").symlink_to("..")
    (public / "loop").symlink_to("loop")
    os.mkfifo(public / "fifo")
    return tmp_path


@pytest.fixture
def get(run: Run, tree: Path) -> Get:
    """`get(path, *fields, method="GET")` of what is shown under /static/."""
    static = Static("/static/", str(tree / "public"))

    def get_one(path: str, *fields: str, method: str = "GET") -> Any:
        return run(static, render(method, path, *fields)).answer

    return get_one


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/static/a.txt", b"a text"),
        ("/static/a.txt?query", b"a text"),
        ("/static/%61.txt", b"a text"),
        ("/static/empty", b""),
        ("/static/", b"the index"),
        ("/static/sub/", b"the other index"),
        ("/static/sub/a%20b%C3%A9.txt", b"a name"),
        ("/static/sub/../a.txt", b"a text"),
        ("/static/sub%2f..%2fa.txt", b"a text"),
        ("/static/inside.txt", b"a text"),
    ],
)
def test_found(get: Get, path: str, body: bytes) -> None:
    answer = get(path)
    assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(
    "name",
    ["none.txt", "../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "sub/../../secret.txt",
     "../public-secret/a.txt", "..%5csecret.txt", "sub//../../secret.txt", "....//secret.txt",
     ".%2e/.%2e/.%2e/.%2e/etc/passwd", "%252e%252e/secret.txt", "outside.txt", "outside/secret.txt",
     "outside/", "a.txt/", "a.txt%00", "%00", "a.txt%00.html", "/etc/passwd", "%2fetc%2fpasswd",
     "//etc/passwd", "without/", "loop", "fifo", "x" * 300, "%ff%fe"],
)  # fmt: skip
def test_not_found(get: Get, name: str) -> None:
    answer = get(f"/static/{name}")
    assert (answer.status, answer.body) == (404, b"Not Found\n")


def test_absolute_path_of_a_file_that_is_served(get: Get, tree: Path) -> None:
    """`os.path.join` would take it as it is."""
    assert get(f"/static/{tree}/public/a.txt").status == 404


@pytest.mark.parametrize(
    ("path", "location"),
    [("/static", "/static/"), ("/static/sub", "/static/sub/"), ("/static/sub?x=1", "/static/sub/?x=1")],
)
def test_directory_without_its_slash(get: Get, path: str, location: str) -> None:
    answer = get(path)
    assert (answer.status, answer.fields["location"]) == (301, location)


def test_redirect_leads_to_no_other_host(run: Run, tree: Path) -> None:
    (tree / "public/evil.test").mkdir()
    for path in ("//evil.test", "/%2fevil.test", "///evil.test", "/sub/..//evil.test"):
        fields = run(Static("/", str(tree / "public")), render("GET", path)).answer.fields
        assert not fields.get("location", "").startswith("//")


@pytest.mark.parametrize(
    ("path", "serves"), [("/static", True), ("/static/a", True), ("/static-old/a", False), ("/", False)]
)
def test_route(tree: Path, path: str, serves: bool) -> None:
    assert Static("/static/", str(tree)).serves(path.encode()) is serves
    assert Static("/", str(tree)).serves(path.encode())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods(get: Get, method: str) -> None:
    answer = get("/static/a.txt", method=method)
    assert (answer.status, answer.fields["allow"]) == (405, "get, head")


@pytest.mark.parametrize("name", ["a.txt", "large.bin", "empty", ""])
def test_head_is_get_without_content(get: Get, name: str) -> None:
    shown, told = get(f"/static/{name}"), get(f"/static/{name}", method="HEAD")
    assert (told.status, told.fields, told.body) == (200, shown.fields, b"")
    assert int(shown.fields["content-length"]) == len(shown.body)


def test_large_file_goes_whole(get: Get) -> None:
    assert get("/static/large.bin").body == pattern(IN_MEMORY + 1)


def test_no_descriptor_is_left_open(get: Get) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in ("a.txt", "large.bin", "fifo", "none.txt", "sub"):
        get(f"/static/{name}")
        get(f"/static/{name}", "If-None-Match: *", method="HEAD")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.html", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("A.PNG", "image/png"),
        ("a.tar.gz", "application/gzip"),
        ("a.html.br", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
    ],
)
def test_media_type(get: Get, tree: Path, name: str, kind: str) -> None:
    (tree / "public" / name).write_bytes(b"x")
    answer = get(f"/static/{name}")
    assert answer.fields["content-type"] == kind
    assert "content-encoding" not in answer.fields


# Conditions (RFC 9110 section 13)


def test_validators(get: Get) -> None:
    fields = get("/static/a.txt").fields
    assert fields["last-modified"] == "sun, 06 nov 1994 08:49:37 gmt"
    assert fields["etag"].startswith('"')
    assert fields["etag"] != get("/static/index.html").fields["etag"]


def test_validators_change_with_the_file(get: Get, tree: Path) -> None:
    tag = get("/static/a.txt").fields["etag"]
    (tree / "public/a.txt").write_bytes(b"A text")
    assert get("/static/a.txt", f"If-None-Match: {tag}").status == 200


@pytest.mark.parametrize(
    ("template", "unchanged"),
    [
        ("If-None-Match: {tag}", True),
        ("If-None-Match: W/{tag}", True),
        ('If-None-Match: "x", {tag} ,"y"', True),
        ("If-None-Match: *", True),
        ('If-None-Match: "x"', False),
        ("If-None-Match: ", False),
        ('If-None-Match: "x"\r\nIf-Modified-Since: {date}', False),
        ("If-Modified-Since: {date}", True),
        ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT", True),
        ("If-Modified-Since: Sun Nov  6 08:49:37 1994", True),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:38 GMT", True),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT", False),
        ("If-Modified-Since: Sun Nov  6 08:49:36 1994", False),
        ("If-Modified-Since: yesterday", False),
        ("If-Modified-Since: Sun, 06 Nov 99999 08:49:37 GMT", False),
        ("If-Modified-Since: \xff", False),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_condition(get: Get, template: str, unchanged: bool, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All three forms of a date are GMT (RFC 9110 section 5.6.7), wherever the server stands."""
    tag = get("/static/a.txt").fields["etag"]
    with in_zone(zone, monkeypatch):
        answer = get("/static/a.txt", template.format(tag=tag, date=formatdate(MTIME, usegmt=True)))
    assert (answer.status, answer.body) == ((304, b"") if unchanged else (200, b"a text"))
    if unchanged:
        assert (answer.fields["etag"], "last-modified" in answer.fields) == (tag, True)


@contextmanager
def in_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process's time zone for a while."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()
