"""What PEP 3333 promises an application, beyond what it shares with ASGI."""

import json
from pathlib import Path

import pytest

from support.client import Response
from support.marks import cases, each_style, wsgi_only
from support.messages import chunked, pattern, render
from support.server import Server, serve

pytestmark = wsgi_only


@pytest.mark.parametrize(
    ("model", "options", "multithread", "multiprocess"),
    [
        ("iterative", [], False, False),
        ("forking", [], False, True),
        ("preforked", ["--workers", "2"], False, True),
        ("threaded", [], True, False),
        ("prethreaded", [], True, False),
        ("poll", [], True, False),
        ("poll", ["--threads", "0"], False, False),
        ("epoll", [], True, False),
        ("epoll", ["--threads", "0"], False, False),
        ("io_uring", [], True, False),
        ("io_uring", ["--threads", "0"], False, False),
        ("prethreaded", ["--threads", "1"], False, False),
        ("epoll", ["--threads", "1"], False, False),
        ("iterative", ["--workers", "2"], False, True),
        ("threaded", ["--workers", "2"], True, True),
        ("prethreaded", ["--workers", "2"], True, True),
        ("poll", ["--threads", "2"], True, False),
        ("epoll", ["--threads", "2"], True, False),
        ("io_uring", ["--threads", "2"], True, False),
        ("epoll", ["--workers", "2", "--threads", "2"], True, True),
    ],
)
def test_flags_are_true_to_the_model(
    model: str, interface: str, options: list[str], multithread: bool, multiprocess: bool
) -> None:
    with serve(model, interface, *options) as server:
        info = json.loads(server.get("/info").body)
        assert (info["multithread"], info["multiprocess"]) == (multithread, multiprocess)
        assert info["run_once"] is False


def test_validator_finds_nothing(model: str, interface: str) -> None:
    """wsgiref.validate raises AssertionError, a 500, wherever the server departs from the specification."""
    with serve(model, interface, app="support.apps_wsgi:validated") as server, server.connect() as connection:
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            response = connection.request(method, "/a%20b?c=d", "Cookie: a=b", body=b"body")
            assert (response.status, response.body) == (200, f"{method} 4".encode()), server.stderr()
        connection.send(render("POST", "/", "Transfer-Encoding: chunked") + chunked(pattern(1000), 300))
        assert connection.read_response().body == b"POST 1000"
        assert connection.request("HEAD", "/").status == 200
        assert connection.request("OPTIONS", "*").body == b"OPTIONS 0"
        assert connection.request("GET", "/").body == b"GET 0"
        assert not server.complaints()


@each_style
def test_factory(model: str, interface: str) -> None:
    with serve(model, interface, "--factory", app="support.apps_wsgi:factory") as server:
        assert server.get("/").status == 200


STRETCHES = ["", "&at=1000000", "&at=3000000", "&length=1000", "&at=10&length=1000"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wrapped.bin"
    path.write_bytes(pattern(3_000_000))
    return path


@cases("kind,options", everywhere=[("file", each) for each in STRETCHES], once=[("memory", each) for each in STRETCHES])
def test_file_wrapper(server: Server, file: Path, kind: str, options: str) -> None:
    """From the file's position, and no further than the Content-Length that the application gave."""
    with server.connect() as connection:
        response = connection.request("GET", f"/wrapper?kind={kind}&path={file}{options}")
        assert response.body == expected(options)
        assert response.status == 200
        if not response.closes and response.framing != "close":
            assert connection.request("GET", "/").status == 200


def expected(options: str) -> bytes:
    query = dict(option.split("=") for option in options.split("&") if option)
    start = int(query.get("at", 0))
    return pattern(3_000_000)[start:][: int(query.get("length", 3_000_000))]


def test_file_wrapper_with_head(server: Server, file: Path) -> None:
    with server.connect() as connection:
        assert connection.request("HEAD", f"/wrapper?kind=file&path={file}").status == 200
        assert connection.request("GET", "/").status == 200


def test_file_wrapper_on_http_1_0(server: Server, file: Path) -> None:
    with server.connect() as connection:
        connection.send(render("GET", f"/wrapper?kind=file&path={file}", version="1.0"))
        response: Response = connection.read_response()
        assert response.body == pattern(3_000_000)


def test_file_wrapper_closes_its_file(server: Server, file: Path) -> None:
    """PEP 3333: the wrapper's close() calls the file's."""
    before = server.journal.count("closed memory file")
    assert server.get(f"/wrapper?kind=memory&path={file}").status == 200
    server.journal.wait_for("closed memory file")
    assert server.get("/").status == 200
    assert server.journal.count("closed memory file") == before + 1
