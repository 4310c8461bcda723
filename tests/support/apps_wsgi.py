"""The fixture application as WSGI (PEP 3333); see `behaviour` for what its routes do."""

import io
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

from support import journal
from support.behaviour import (
    BAD_FIELDS,
    GOOD_FIELDS,
    Parameters,
    error,
    expecting_refusal,
    length_field,
    parameters,
    parts,
    received,
    to_json,
)
from support.messages import pattern

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Route = Callable[[Environ, StartResponse, Parameters], Iterable[bytes]]

OK = "200 OK"
JSON = ("Content-Type", "application/json")
BINARY = ("Content-Type", "application/octet-stream")


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    route = ROUTES.get(environ["PATH_INFO"], echo)
    return route(environ, start_response, parameters(environ["QUERY_STRING"]))


def factory() -> Callable[[Environ, StartResponse], Iterable[bytes]]:
    return app


def answer(start_response: StartResponse, body: bytes, status: str = OK) -> list[bytes]:
    start_response(status, [JSON, ("Content-Length", str(len(body)))])
    return [body]


def echo(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """The request as the application sees it."""
    body = environ["wsgi.input"].read()
    fields = {key[5:]: value for key, value in environ.items() if key.startswith("HTTP_")}
    fields |= {key: environ[key] for key in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(key)}
    seen = {
        "method": environ["REQUEST_METHOD"],
        "path": (environ["SCRIPT_NAME"] + environ["PATH_INFO"]).encode("latin-1").decode(errors="replace"),
        "query": environ["QUERY_STRING"],
        "version": environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
        "scheme": environ["wsgi.url_scheme"],
        "fields": {key.replace("_", "-").lower(): value for key, value in fields.items()},
        "client": [environ.get("REMOTE_ADDR", ""), int(environ.get("REMOTE_PORT") or 0)],
        "server": [environ["SERVER_NAME"], int(environ["SERVER_PORT"] or 0)],
        "body": body.decode("latin-1"),
    }
    return answer(start_response, to_json(seen))


def read(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """Read the body in the way that `how` names."""
    stream = environ["wsgi.input"]
    ways: dict[str, Callable[[], bytes]] = {
        "all": stream.read,
        "minus": lambda: stream.read(-1),
        "pieces": lambda: b"".join(iter(lambda: stream.read(1000), b"")),
        "lines": lambda: b"".join(iter(stream.readline, b"")),
        "short-lines": lambda: b"".join(iter(lambda: stream.readline(7), b"")),
        "readlines": lambda: b"".join(stream.readlines()),
        "iterate": lambda: b"".join(stream),
        "first": lambda: stream.read(1),
        "none": lambda: b"",
    }
    return answer(start_response, received(ways[query["how"]]()))


def send(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """A body of a given size, in parts."""
    start_response(OK, [BINARY, *length_field(query)])
    return parts(query)


def write(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """The same through the write() callable; the iterable comes after it."""
    put = start_response(OK, [BINARY, *length_field(query)])
    for part in parts(query):
        put(part)
    return [b"", b"end"] if "end" in query else []


def write_within(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """The same, called by the iterable: PEP 3333 forbids it, Mercurial's archives do it. `single`: its length is 1."""
    return _Single(_writing(start_response, query)) if "single" in query else _writing(start_response, query)


def _writing(start_response: StartResponse, query: Parameters) -> Iterator[bytes]:
    put = start_response(OK, [BINARY, *length_field(query)])
    for part in parts(query):
        put(part)
    if "end" in query or "single" in query:
        yield b"end"


class _Single:
    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def __len__(self) -> int:
        return 1


def status(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """A status of choice, with a body even where none is allowed."""
    start_response(f"{query['code']} Reason", [BINARY, *length_field(query)])
    return [query.get("body", "").encode()]


def fields(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    start_response(OK, [BINARY, *GOOD_FIELDS])
    return [b"body"]


def bad_field(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    with expecting_refusal(query):
        start_response(OK, [BINARY, BAD_FIELDS[query["kind"]]])
    return [b"X-Injected: in the body"]


def bad_status(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    with expecting_refusal(query):
        start_response("200 OK\r\nX-Injected: yes", [BINARY])
    return [b"X-Injected: in the body"]


def fail(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """Raise at the moment that `when` names."""
    if query["when"] == "before start":
        raise error(query)
    start_response(OK, [BINARY, *length_field(query)])
    if query["when"] == "after start":
        raise error(query)
    return Failing(query)


class Failing:
    """An iterable that raises at its first or second part, or in close()."""

    def __init__(self, query: Parameters) -> None:
        self.query = query

    def __iter__(self) -> Iterator[bytes]:
        if self.query["when"] == "first part":
            raise error(self.query)
        yield b"the first part"
        if self.query["when"] == "second part":
            raise error(self.query)

    def close(self) -> None:
        journal.write(f"closed {self.query['token']}")
        if self.query["when"] == "close":
            raise error(self.query)


def silent(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """Never call start_response."""
    return [b"nothing was started"]


def replaced(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """Replace the answer by an error page with exc_info; with `late`, after bytes are out, it must raise."""
    start_response(OK, [BINARY, ("X-First", "yes")])
    if "late" in query:
        yield b"the first part"
    try:
        raise error(query)
    except Exception:
        start_response("503 Replaced", [BINARY, ("X-Second", "yes")], sys.exc_info())
    yield b"the error page"


def started_twice(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    start_response(OK, [BINARY])
    with expecting_refusal(query):
        start_response(OK, [BINARY])
    return [b"a second start_response without exc_info was accepted"]


def gate(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """Send a first part (with `first`), wait at the gate, send the rest."""
    start_response(OK, [BINARY])
    if "first" in query:
        yield b"first"
    journal.pass_gate(query["gate"])
    yield b"rest"


class Endless:
    """Parts for ever (bounded, so that a server without back-pressure ends); close() journals their number."""

    def __init__(self, query: Parameters) -> None:
        self.token, self.parts = query["token"], 0

    def __iter__(self) -> Iterator[bytes]:
        part = pattern(1 << 16)
        while self.parts < 4096:
            self.parts += 1
            yield part

    def close(self) -> None:
        journal.write(f"closed {self.token}")
        journal.write(f"parts of {self.token}: {self.parts}")


def endless(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    start_response(OK, [BINARY])
    return Endless(query)


def spoil(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """Change the environ; the next request must not see it."""
    body = to_json({"stale": sorted({"contract.stale", "HTTP_X_STALE"} & environ.keys()), "host": environ["HTTP_HOST"]})
    environ["contract.stale"] = environ["HTTP_X_STALE"] = environ["HTTP_HOST"] = "stale"
    return answer(start_response, body)


def info(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """Where the application runs."""
    flags = {name: environ[f"wsgi.{name}"] for name in ("multithread", "multiprocess", "run_once")}
    return answer(start_response, to_json({"pid": os.getpid(), "thread": threading.get_ident(), **flags}))


class ClosingBytes(io.BytesIO):
    """A file without a descriptor, whose close() is journaled."""

    def close(self) -> None:
        journal.write("closed memory file")
        super().close()


def wrapper(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """Answer with wsgi.file_wrapper over a real file, from its position `at`, or over one in memory."""
    path = Path(query["path"])
    file: io.BufferedIOBase = path.open("rb") if query["kind"] == "file" else ClosingBytes(path.read_bytes())
    file.seek(int(query.get("at", "0")))
    start_response(OK, [BINARY, *length_field(query)])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 4096)
    return wrapped


ROUTES: dict[str, Route] = {
    "/read": read,
    "/send": send,
    "/write": write,
    "/write-within": write_within,
    "/status": status,
    "/fields": fields,
    "/bad-field": bad_field,
    "/bad-status": bad_status,
    "/fail": fail,
    "/silent": silent,
    "/replaced": replaced,
    "/started-twice": started_twice,
    "/gate": gate,
    "/endless": endless,
    "/spoil": spoil,
    "/info": info,
    "/wrapper": wrapper,
}


def _plain(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    size = len(environ["wsgi.input"].read(1 << 20))
    start_response(OK, [("Content-Type", "text/plain")])
    return [f"{environ['REQUEST_METHOD']} {size}".encode()]


#: Complains (AssertionError) about everything in which the server departs from PEP 3333.
validated = validator(_plain)
