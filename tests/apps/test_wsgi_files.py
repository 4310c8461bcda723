"""What a WSGI application reads and sends as files: `wsgi.input` and `wsgi.file_wrapper` (PEP 3333)."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from septet.apps.wsgi import Wsgi
from septet.rules import Rules
from support.messages import chunked, render

Run = Callable[..., Any]
Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], None]]

PLAIN = [("Content-Type", "text/plain")]
GET = render("GET", "/")


# wsgi.file_wrapper


@pytest.mark.parametrize(
    ("offset", "length", "body"), [(0, None, b"0123456789"), (4, None, b"456789"), (4, "3", b"456")]
)
def test_file_wrapper_sends_a_file(run: Run, tmp_path: Path, offset: int, length: str | None, body: bytes) -> None:
    """From where it stands, and as much as was promised; its descriptor is what is sent from."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    file = path.open("rb")
    file.seek(offset)
    headers = [("Content-Length", length)] if length else []

    def application(environ: Environ, start_response: Start) -> Any:
        start_response("200 OK", headers)
        return environ["wsgi.file_wrapper"](file, 3)

    answer, session = run(Wsgi(application), GET)
    assert (answer.body, answer.fields["content-length"]) == (body, str(len(body)))
    assert file.closed
    assert session.http.keep_alive


def test_file_wrapper_of_what_is_no_file(run: Run) -> None:
    class Closeless:
        def __init__(self) -> None:
            self.read = io.BytesIO(b"0123456789").read

    for filelike in (io.BytesIO(b"0123456789"), Closeless()):
        answer, _ = run(
            Wsgi(lambda environ, start, file=filelike: start("200 OK", []) and environ["wsgi.file_wrapper"](file, 3)),
            GET,
        )
        assert answer.body == b"0123456789"


@pytest.mark.parametrize(("status", "length"), [("204 No Content", None), ("304 Not Modified", "10")])
def test_file_wrapper_beside_no_content(run: Run, tmp_path: Path, status: str, length: str | None) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def application(environ: Environ, start_response: Start) -> Any:
        start_response(status, [])
        return environ["wsgi.file_wrapper"](path.open("rb"))

    answer, _ = run(Wsgi(application), GET)
    assert (answer.body, answer.fields.get("content-length")) == (b"", length)


# wsgi.input

BODY = b"line 1\nline 2\nlast"


def reads(environ: Environ) -> list[bytes]:
    file = environ["wsgi.input"]
    return [file.readline(), file.read(3), file.read(0), *file, file.read(), file.readline()]


@pytest.mark.parametrize("rules", [Rules(), Rules(spool=io.BytesIO)])
@pytest.mark.parametrize(
    "data", [render("POST", "/", body=BODY), render("POST", "/", "Transfer-Encoding: chunked") + chunked(BODY, 4)]
)
def test_input(run: Run, rules: Rules, data: bytes) -> None:
    """A file in all that PEP 3333 asks for, that ends where the body ends, wherever the application runs."""

    def application(environ: Environ, start_response: Start) -> list[bytes]:
        start_response("200 OK", PLAIN)
        return [repr(reads(environ)).encode()]

    answer, _ = run(Wsgi(application), data, rules)
    assert answer.body == repr([b"line 1\n", b"lin", b"", b"e 2\n", b"last", b"", b""]).encode()


def test_input_that_breaks_off(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Never a body that only seems whole; and no traceback, for it is not the application's fault."""
    read = []

    def application(environ: Environ, start_response: Start) -> list[bytes]:
        read.append(environ["wsgi.input"].read())
        return [b""]

    run(Wsgi(application), render("POST", "/", body=BODY)[:-1])
    assert read == []
    assert caplog.records == []
