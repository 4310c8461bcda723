"""What a WSGI application reads and sends as files: `wsgi.input` and `wsgi.file_wrapper` (PEP 3333)."""

import gzip
import io
import tempfile
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
    """From its position, as many bytes as Content-Length says, by sendfile(2) from a descriptor."""
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
    """`wsgi.input` has the methods that PEP 3333 requires, and ends with the body, in each model."""

    def application(environ: Environ, start_response: Start) -> list[bytes]:
        start_response("200 OK", PLAIN)
        return [repr(reads(environ)).encode()]

    answer, _ = run(Wsgi(application), data, rules)
    assert answer.body == repr([b"line 1\n", b"lin", b"", b"e 2\n", b"last", b"", b""]).encode()


def test_input_that_breaks_off(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A truncated body never looks complete; no traceback, since it is not the application's fault."""
    read = []

    def application(environ: Environ, start_response: Start) -> list[bytes]:
        read.append(environ["wsgi.input"].read())
        return [b""]

    run(Wsgi(application), render("POST", "/", body=BODY)[:-1])
    assert read == []
    assert caplog.records == []


def test_kept_input_ends_with_its_exchange(run: Run) -> None:
    """The next bytes on the connection belong to the next request, so reading raises."""
    kept: list[Any] = []
    late: list[type[BaseException]] = []

    class Parts:
        def __iter__(self) -> Any:
            return iter([b"an", b"swer"])

        def close(self) -> None:
            for file in kept:
                try:
                    file.read()
                except ValueError as error:
                    late.append(type(error))

    def application(environ: Environ, start_response: Start) -> Any:
        kept.append(environ["wsgi.input"])
        start_response("200 OK", [("Content-Length", "6")])
        return Parts() if len(kept) == 1 else [environ["wsgi.input"].read()]

    post = render("POST", "/", body=b"secret")
    answer, _ = run(Wsgi(application), render("POST", "/", body=b"first") + post)
    assert answer.raw.endswith(b"\r\n\r\nsecret")
    assert late == [ValueError]


# What a file object reads may not be what its descriptor holds


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def gzipped(path: Path) -> Any:
    with gzip.open(path, "wb") as file:
        file.write(b"0123456789" * 240)
    return gzip.open(path)


def unflushed(path: Path) -> Any:
    file = written(path, b"").open("w+b")
    file.write(b"0123456789" * 240)
    file.seek(0)
    file.write(b"ABC")  # still in the buffer, when the application is done
    return file


def named(path: Path) -> Any:
    file = tempfile.NamedTemporaryFile(dir=path.parent)  # noqa: SIM115 - the answer closes it
    file.write(b"0123456789" * 240)
    file.seek(2390)
    return file


def spooled(path: Path) -> Any:
    file = tempfile.SpooledTemporaryFile(100, dir=str(path.parent))  # noqa: SIM115 - the answer closes it
    file.write(b"0123456789" * 240)
    file.seek(2390)
    return file


def read_ahead(path: Path) -> Any:
    file = written(path, b"0123456789" * 240).open("rb")
    file.read(2390)  # the descriptor stands at its end
    return file


class Upper(io.FileIO):
    def read(self, size: int | None = -1) -> bytes:
        return (super().read(size) or b"").upper()


class UpperBuffered(io.BufferedReader):
    def read(self, size: int | None = -1) -> bytes:
        return super().read(size).upper()


KINDS: dict[str, tuple[Callable[[Path], Any], bytes]] = {
    "gzip": (gzipped, b"0123456789" * 240),
    "BytesIO": (lambda path: io.BytesIO(b"in memory"), b"in memory"),
    "unwritten rest": (unflushed, (b"ABC" + b"3456789" + b"0123456789" * 239)[3:]),
    "NamedTemporaryFile": (named, b"0123456789"),
    "SpooledTemporaryFile": (spooled, b"0123456789"),
    "read ahead": (read_ahead, b"0123456789"),
    "unbuffered": (lambda path: written(path, b"0123").open("rb", buffering=0), b"0123"),
    "FileIO that translates": (lambda path: Upper(written(path, b"abc")), b"ABC"),
    "reader that translates": (lambda path: UpperBuffered(io.FileIO(written(path, b"abc"))), b"ABC"),
    "reader of one": (lambda path: io.BufferedReader(Upper(written(path, b"abc"))), b"abc"),
    "empty": (lambda path: written(path, b"").open("rb"), b""),
    "of the kernel": (lambda path: Path("/proc/self/stat").open("rb"), b"("),  # noqa: SIM115 - the answer closes it
    "beyond its end": (lambda path: seek(written(path, b"abc").open("rb"), 10), b""),
}


def seek(file: Any, position: int) -> Any:
    file.seek(position)
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_file_wrapper_sends_what_read_gives(run: Run, tmp_path: Path, kind: str) -> None:
    make, expected = KINDS[kind]
    files: list[Any] = []

    def application(environ: Environ, start_response: Start) -> Any:
        start_response("200 OK", [])
        files.append(make(tmp_path / "file"))
        return environ["wsgi.file_wrapper"](files[0])

    answer, session = run(Wsgi(application), GET)
    if kind == "of the kernel":
        assert expected in answer.body
    else:
        assert answer.body == expected
    assert files[0].closed
    assert not session.lost


def test_a_file_that_cannot_be_read_is_an_error(run: Run, tmp_path: Path) -> None:
    def application(environ: Environ, start_response: Start) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.FileIO(written(tmp_path / "file", b"abc"), "a"))

    answer, _ = run(Wsgi(application), GET)
    assert answer.status == 500


@pytest.mark.parametrize("starts", [True, False])
def test_a_wrapper_that_is_never_started_is_closed(run: Run, tmp_path: Path, starts: bool) -> None:
    file = written(tmp_path / "file", b"abc").open("rb")

    def application(environ: Environ, start_response: Start) -> Any:
        if starts:
            start_response("204 No Content", [])
        return environ["wsgi.file_wrapper"](file)

    answer, _ = run(Wsgi(application), GET)
    assert answer.status == (204 if starts else 500)
    assert file.closed
