"""Real frameworks under a model of each style: the servers' contract is theirs, not ours to interpret.

Other applications of theirs are visited under every model: `test_real_applications`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.client import Response
from support.marks import each_style
from support.messages import chunked, pattern, render
from support.server import Server, serve

APPS = {
    "flask": "support.app_flask:app",
    "django-wsgi": "support.app_django:wsgi",
    "django-asgi": "support.app_django:asgi",
    "starlette": "support.app_starlette:app",
}

ROWS = "".join(f"row {row}\n" for row in range(1000)).encode()
BOUNDARY = "a-boundary"


@pytest.fixture(params=sorted(APPS))
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(model: str, framework: str) -> Iterator[Server]:
    with serve(model, "auto", app=APPS[framework]) as server:
        yield server
        server.stop()
        if framework == "starlette":
            assert "lifespan ended" in server.journal.lines()
        assert not server.complaints()


@each_style
def test_framework(site: Server, framework: str, token: str) -> None:
    """One start for a whole tour."""
    assert site.get("/hello/W%C3%B6rld").body.decode() == "Hello, Wörld!"
    assert site.get("/nosuch").status == 404
    assert_json(post(site, "/json", "application/json", b'{"a": [1, 2]}'), {"a": [1, 2]})
    assert site.get("/stream").body == ROWS
    assert_cookies(site)
    assert site.get("/fail").status == 500
    if framework == "starlette":
        assert site.get(f"/background?token={token}").body == b"later"
        site.journal.wait_for(f"background {token}")
    else:
        assert_forms(site)
    if framework != "django-wsgi":  # which reads nothing without a CONTENT_LENGTH, under any server
        assert_chunked_json(site)
    with site.connect() as connection:
        for _ in range(3):
            assert connection.request("GET", "/hello/again").status == 200
        assert connection.request("HEAD", "/hello/again").body == b""
        assert connection.request("GET", "/stream").body == ROWS


@each_style
def test_a_stream_of_starlette_ends_when_its_client_has_left_though_it_sends_nothing(model: str) -> None:
    """Else a generator that waits for an event stays for each client that has ever come, and a stop waits for all."""
    with serve(model, "asgi", app=APPS["starlette"]) as server:
        with server.connect() as connection:
            connection.send(render("GET", "/events"))
            connection.read_head()
            assert connection.read_chunk() == b"data: the first\n\n"
        server.journal.wait_for("events ended")
        server.stop()
        assert not server.complaints()


@each_style
def test_a_stream_of_starlette_may_answer_with_the_body_that_it_reads(model: str) -> None:
    with serve(model, "asgi", app=APPS["starlette"]) as server:
        assert server.request("POST", "/echo", body=b"").body == b""
        with server.connect() as connection:
            connection.send(render("POST", "/echo", "Transfer-Encoding: chunked") + b"3\r\none\r\n")
            connection.read_head()
            assert connection.read_chunk() == b"one"
            connection.send(b"3\r\ntwo\r\n")
            assert connection.read_chunk() == b"two"
            connection.send(b"0\r\n\r\n")
            assert connection.read_chunk() == b""


def post(site: Server, target: str, media_type: str, body: bytes) -> Response:
    return site.request("POST", target, f"Content-Type: {media_type}", body=body)


def assert_json(response: Response, value: object) -> None:
    assert response.status == 200, response
    assert json.loads(response.body) == value


def assert_cookies(site: Server) -> None:
    response = site.get("/cookies", "Cookie: one=1; two=2")
    assert_json(response, {"one": "1", "two": "2"})
    assert [cookie.partition(";")[0] for cookie in response.all("set-cookie")] == ["first=1", "second=2"]


def assert_forms(site: Server) -> None:
    """A form and a file."""
    form, media_type = b"name=J%C3%BCrgen&remark=a+b", "application/x-www-form-urlencoded"
    assert_json(post(site, "/form", media_type, form), {"name": "Jürgen", "remark": "a b"})
    disposition = b'Content-Disposition: form-data; name="file"; filename="a.bin"'
    lines = [f"--{BOUNDARY}".encode(), disposition, b"", pattern(500_000), f"--{BOUNDARY}--".encode(), b""]
    upload = post(site, "/upload", f"multipart/form-data; boundary={BOUNDARY}", b"\r\n".join(lines))
    assert_json(upload, ["a.bin", 500_000])


def assert_chunked_json(site: Server) -> None:
    head = render("POST", "/json", "Content-Type: application/json", "Transfer-Encoding: chunked")
    with site.connect() as connection:
        connection.send(head + chunked(b'{"a": [1, 2]}', 5))
        assert_json(connection.read_response(), {"a": [1, 2]})


@pytest.mark.parametrize(("options", "compressed"), [((), True), (("--asgi-extensions", "pathsend"), False)])
def test_middleware_compresses_files_unless_path_send_is_asked_for(
    tmp_path: Path, options: tuple[str, ...], compressed: bool
) -> None:
    """Offered path send, Starlette's GZipMiddleware steps aside."""
    file = tmp_path / "file.txt"
    file.write_bytes(b"a" * 1300)
    with serve("epoll", "asgi", *options, app="support.app_compresses:app") as server:
        answer = server.get(f"/file?path={file}", "Accept-Encoding: gzip")
    assert answer.status == 200
    assert (answer.get("content-encoding") == "gzip") is compressed
    assert len(answer.body) < 100 if compressed else answer.body == b"a" * 1300
