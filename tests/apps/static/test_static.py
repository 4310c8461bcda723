"""Static files: which are found, their media types, and that no others can be reached."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest

from septet.apps.static import IN_MEMORY, Static
from septet.settings.mount import parse_mount
from support.messages import pattern, render

Run = Callable[..., Any]
Get = Callable[..., Any]


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
    """`os.path.join` would take an absolute path as it is."""
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
    for path in ("//evil.test", "/%2fevil.test", "///evil.test", "/sub/..//evil.test", "/\\evil.test/.."):
        fields = run(Static("/", str(tree / "public")), render("GET", path)).answer.fields
        assert not fields.get("location", "").startswith(("//", "/\\"))


@pytest.mark.parametrize(
    ("path", "serves"), [("/static", True), ("/static/a", True), ("/static-old/a", False), ("/", False)]
)
def test_route(tree: Path, path: str, serves: bool) -> None:
    assert Static("/static/", str(tree)).serves(path.encode()) is serves
    assert Static("/", str(tree)).serves(path.encode())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE", "get"])
def test_other_methods(get: Get, method: str) -> None:
    answer = get("/static/a.txt", method=method)
    assert (answer.status, answer.fields["allow"]) == (405, "get, head, options")


@pytest.mark.parametrize("path", ["/static/a.txt", "/static/", "/static"])
def test_options(get: Get, path: str) -> None:
    """RFC 9110 section 9.3.7."""
    answer = get(path, method="OPTIONS")
    assert (answer.status, answer.fields["allow"], answer.body) == (204, "get, head, options", b"")


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
        get(f"/static/{name}", "Range: bytes=0-1,3-4")
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
        ("data:,x.png", "image/png"),
        ("a.html%3Fx.png", "image/png"),
        ("a.unheard-of", "application/octet-stream"),
    ],
)
def test_media_type(get: Get, tree: Path, name: str, kind: str) -> None:
    (tree / "public" / unquote(name)).write_bytes(b"x")
    answer = get(f"/static/{name}")
    assert answer.fields["content-type"] == kind
    assert "content-encoding" not in answer.fields


@pytest.mark.parametrize(("name", "codings"), [("a.svgz", "gzip"), ("B.SVGZ", "gzip"), ("a.svgz.br", None)])
def test_compressed_svg(get: Get, tree: Path, name: str, codings: str | None) -> None:
    """Content-Encoding is part of the format (.svgz): without it browsers do not show the file."""
    (tree / "public" / name).write_bytes(b"x")
    for fields, status in (((), 200), (("Range: bytes=0-0",), 206)):
        answer = get(f"/static/{name}", *fields)
        assert (answer.status, answer.fields.get("content-encoding")) == (status, codings)
        assert answer.fields["content-type"] == ("image/svg+xml" if codings else "application/octet-stream")


def test_codings_are_told_in_their_order(get: Get, tree: Path) -> None:
    (tree / "public" / "a.svgz").write_bytes(b"x")
    (tree / "public" / "a.svgz.br").write_bytes(b"y")
    answer = get("/static/a.svgz", "Accept-Encoding: br, gzip")
    assert (answer.body, answer.fields["content-encoding"]) == (b"y", "gzip, br")


ROUTES = ["/static files", "/static%20files", "/bü", "/b%C3%BC", "/b%c3%bc", "/100%", "/%FF", "/a+b", "/a?b"]


@pytest.mark.parametrize("route", ROUTES)
def test_route_is_reached_in_every_spelling(run: Run, tree: Path, route: str) -> None:
    static = Static(parse_mount(f"{route}=x").route, str(tree / "public"))
    name = unquote_to_bytes(route)
    every = "".join(f"%{byte:02x}" for byte in name)
    for spelling in (quote(name), "/" + every.removeprefix("%2f")):
        assert static.serves(spelling.encode() + b"/a.txt")
        assert run(static, render("GET", f"{spelling}/a.txt")).answer.status == 200
    assert not static.serves(b"/other/a.txt")


@pytest.mark.parametrize("path", ["/st%61tic/a.txt", "/%73tatic/%61.txt", "/static%2Fa.txt", "/s%74atic"])
def test_escapes_lead_past_no_route(get: Get, tree: Path, path: str) -> None:
    """An application would decode them (RFC 3986 section 6.2.2.2)."""
    assert Static("/static/", str(tree / "public")).serves(path.encode())
    assert get(path).status == (301 if path.endswith("tic") else 200)


def test_what_was_decoded_is_not_decoded_again(get: Get, tree: Path) -> None:
    (tree / "public" / "%61").write_bytes(b"of this name")
    assert get("/static/%2561").body == b"of this name"
    assert get("/static/%61").status == 404


@pytest.mark.parametrize("name", ["a.txt", "large.bin", ""])
def test_cache_control(run: Run, tree: Path, name: str) -> None:
    """In every answer that a cache might keep; a 304 repeats it (RFC 9110 section 15.4.5)."""
    static = Static("/", str(tree / "public"), "public, max-age=60")
    whole = run(static, render("GET", f"/{name}")).answer
    tag = whole.fields["etag"]
    part = run(static, render("GET", f"/{name}", "Range: bytes=0-1")).answer
    unchanged = run(static, render("GET", f"/{name}", f"If-None-Match: {tag}")).answer
    for answer, status in ((whole, 200), (part, 206), (unchanged, 304)):
        assert (answer.status, answer.fields["cache-control"], answer.fields["etag"]) == (
            status,
            "public, max-age=60",
            tag,
        )
    assert "cache-control" not in run(static, render("GET", "/none")).answer.fields


def test_descriptors_run_out(run: Run, tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file exists: caches must not store a 404 for it."""
    static = Static("/", str(tree / "public"))
    with all_descriptors_taken():
        answer = run(static, render("GET", "/a.txt")).answer
    assert answer.status == 500
    assert "Too many open files" in caplog.text
    assert run(static, render("GET", "/a.txt")).answer.body == b"a text"


@contextmanager
def all_descriptors_taken() -> Iterator[None]:
    """Let the process open no further file for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/", os.O_PATH)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_link_that_is_replaced_while_it_is_followed(get: Get, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """readlink(2) fails with EINVAL for a path that lstat(2) has just found to be a link."""
    link = tree / "public/inside.txt"
    readlink = os.readlink

    def replaced(path: Any, **how: Any) -> Any:
        monkeypatch.setattr(os, "readlink", readlink)
        link.unlink()
        link.write_bytes(b"another text")
        return readlink(path, **how)

    monkeypatch.setattr(os, "readlink", replaced)
    answer = get("/static/inside.txt")
    assert (answer.status, answer.body) == (200, b"another text")
