"""Applications that answer in ways that no server may pass on, each at /NAME; and in rare ways that are right.

Wrong ones are made of the same words for both interfaces: what WSGI has as strings is encoded for ASGI.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from support import journal
from support.messages import pattern

TYPE = ("content-type", "text/plain")

#: Status lines and header fields that make no answer.
HEADS: dict[str, tuple[Any, list[Any]]] = {
    "status-0": ("0 Zero", []),
    "status-99": ("99 Low", []),
    "status-100": ("100 Continue", []),
    "status-600": ("600 High", []),
    "status-kind": (None, []),
    "crlf": ("200 OK", [("x", "a\r\nx-injected: b")]),
    "lf": ("200 OK", [("x", "a\nx-injected: b")]),
    "cr": ("200 OK", [("x", "a\rx-injected: b")]),
    "nul": ("200 OK", [("x", "a\0")]),
    "name": ("200 OK", [("x injected", "b")]),
    "no-name": ("200 OK", [("", "b")]),
    "name-kind": ("200 OK", [(1, "b")]),
    "value-kind": ("200 OK", [("x", 1)]),
    "three": ("200 OK", [("x", "y", "z")]),
    "length-sign": ("200 OK", [("content-length", "-1")]),
    "length-text": ("200 OK", [("content-length", "five")]),
    "lengths": ("200 OK", [("content-length", "4"), ("content-length", "5")]),
}

#: What is no content.
BODIES: dict[str, Any] = {"text": "text", "empty-text": "", "number": 5, "none": None, "list": ["text"]}

#: Answers that go out all the same, and what the log says of them.
MISTAKEN: dict[str, tuple[int, list[tuple[str, str]], list[bytes], str]] = {
    "short": (200, [("content-length", "10")], [b"12345"], "has 5 bytes, but its Content-Length is 10"),
    "short-parts": (200, [("content-length", "10")], [b"12345", b"678"], "has 8 bytes, but its Content-Length is 10"),
    "long": (200, [("content-length", "3")], [b"12345"], "has 5 bytes or more, but its Content-Length is 3"),
    "long-parts": (
        200,
        [("content-length", "3")],
        [b"123", b"45", b"67"],
        "5 bytes or more, but its Content-Length is 3",
    ),
    "no-content": (204, [], [b"12345"], "has content, which its status forbids"),
    "not-modified": (304, [], [b"123", b"45"], "has content, which its status forbids"),
}

#: Fields that are the server's business: left out.
OURS = [("transfer-encoding", "chunked"), ("keep-alive", "timeout=5"), ("connection", "keep-alive"), ("te", "trailers")]

Start = Callable[..., Callable[[Any], None]]
_kept: list[Callable[[Any], None]] = []


def wsgi(environ: dict[str, Any], start_response: Start) -> Any:
    name = environ["PATH_INFO"].strip("/")
    if name in HEADS:
        start_response(*HEADS[name])
        return [b"x-injected: in the body"]
    if name.startswith("mid-"):
        return wsgi_middle(start_response, BODIES[name.removeprefix("mid-")])
    if name in BODIES:
        start_response("200 OK", [TYPE])
        return [BODIES[name]]
    if name in MISTAKEN:
        status, fields, parts, _ = MISTAKEN[name]
        start_response(f"{status} So", fields)
        return iter(parts) if len(parts) > 1 else parts
    if name == "hints":
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload"), ("Link", "</b.js>; rel=preload")])
        environ["wsgi.early_hints"]([("Link", "</c.css>; rel=preload")])
    if name == "slow-hints":
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        journal.pass_gate(environ["QUERY_STRING"])
    if name == "bad-hints":
        environ["wsgi.early_hints"]([("Link", "a\r\nx-injected: b")])
    return wsgi_writing(name, start_response)


def wsgi_middle(start_response: Start, part: Any) -> Iterator[Any]:
    start_response("200 OK", [TYPE])
    yield b"first"
    yield part


def wsgi_writing(name: str, start_response: Start) -> Any:
    write = start_response("200 OK", [TYPE, *(OURS if name == "ours" else [])])
    if name == "keep":
        _kept.append(write)
    elif name == "late":
        _kept.pop()(b"x-injected: into the next answer")
    elif name == "write-text":
        write("text")
    elif name == "write-and-raise":
        write(b"written")
        raise ValueError("deliberate")
    return [b"fine"]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    name = scope["path"].strip("/")
    if scope["type"] != "http":
        raise ValueError("the application has no lifespan")
    if name in HEADS:
        await send(head(*HEADS[name]))
        await send(part(b"x-injected: in the body"))
    elif name.startswith("mid-"):
        await send(head("200 OK", [TYPE]))
        await send(part(b"first", more=True))
        await asyncio.sleep(0)
        await send(part(BODIES[name.removeprefix("mid-")]))
    elif name in MISTAKEN:
        await mistaken(send, *MISTAKEN[name][:3])
    elif name in RIGHT:
        await RIGHT[name](send)
    elif name == "slow-hints":
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await journal.pass_gate_async(scope["query_string"].decode())
        await send(head("200 OK", [TYPE]))
        await send(part(b"fine"))
    else:
        await send(head("200 OK", [TYPE, *(OURS if name == "ours" else [])]))
        await send(part(BODIES.get(name, b"fine")))


def head(status: Any, fields: list[Any], **more: Any) -> dict[str, Any]:
    code = int(status.split()[0]) if status else status
    encoded = [tuple(w.encode("latin-1") if isinstance(w, str) else w for w in field) for field in fields]
    return {"type": "http.response.start", "status": code, "headers": encoded, **more}


def part(body: Any, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def mistaken(send: Any, status: int, fields: list[Any], parts: list[bytes]) -> None:
    await send(head(str(status), fields))
    for body in parts[:-1]:
        await send(part(body, more=True))
        await asyncio.sleep(0)
    await send(part(parts[-1]))


async def hints(send: Any) -> None:
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]})
    await send(head("200 OK", [TYPE]))
    await send({"type": "http.response.early_hint", "links": [b"</c.css>; rel=preload"]})
    await send(part(b"fine"))


async def bad_hints(send: Any) -> None:
    await send({"type": "http.response.early_hint", "links": [b"a\r\nx-injected: b"]})


async def trailers(send: Any) -> None:
    await send(head("200 OK", [TYPE, ("trailer", "x-sum, x-sign")], trailers=True))
    await send(part(b"one", more=True))
    await send(part(b"two"))
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"6")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-sign", b"ok")]})


async def bad_trailers(send: Any) -> None:
    await send(head("200 OK", [TYPE], trailers=True))
    await send(part(b"first"))
    await asyncio.sleep(0)
    await send({"type": "http.response.trailers", "headers": [(b"content-length", b"5")]})


FILE = pattern(1 << 20)


async def path(send: Any) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(FILE)
        file.flush()
        await send(head("200 OK", [TYPE]))
        await send({"type": "http.response.pathsend", "path": file.name})


async def no_path(send: Any) -> None:
    await send(head("200 OK", [TYPE]))
    try:
        await send({"type": "http.response.pathsend", "path": "/nowhere/at/all"})
    except FileNotFoundError:
        await send(part(b"the application has found another way"))


async def region(send: Any) -> None:
    await zero_copy(send, [("content-length", str(5 + 100_000 + 7))])


async def chunked_region(send: Any) -> None:
    await zero_copy(send, [])


async def zero_copy(send: Any, fields: list[Any]) -> None:
    """Content before, between and after two stretches of a file, the second from where the first has ended."""
    with tempfile.TemporaryFile() as file:
        file.write(FILE)
        file.seek(1000)
        await send(head("200 OK", [TYPE, *fields]))
        await send(part(b"begin", more=True))
        more = {"type": "http.response.zerocopysend", "file": file, "more_body": True}
        await send({**more, "count": 50_000})
        await send({**more, "count": 50_000})
        await send({"type": "http.response.zerocopysend", "file": file, "offset": len(FILE) - 7})


RIGHT = {
    "hints": hints,
    "bad-hints": bad_hints,
    "trailers": trailers,
    "bad-trailers": bad_trailers,
    "path": path,
    "no-path": no_path,
    "region": region,
    "chunked-region": chunked_region,
}
