"""The applications that every server under measurement runs: each as small as its scenario allows.

They do next to nothing, so that what is measured is the server and not the application. The WSGI and the
ASGI twin of one scenario give the same bytes. They name a Content-Type and a Content-Length, as frameworks do;
a stream names no length, so that the server has to frame the parts itself (chunked, RFC 9112 section 7.1).
"""

import html
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

HELLO = b"Hello, world"
HELLO_LENGTH = str(len(HELLO))
HELLO_LENGTH_BYTES = HELLO_LENGTH.encode()
PARTS = 10
PART = b"data: " + b"x" * 92 + b"\n\n"  # an event of 100 bytes
LARGE_PART = b"data: " + b"x" * 1016 + b"\n\n"  # of 1 KiB
SLEEP_S = 0.05
REMARKS = tuple((f"Guest {number}", f"Remark {number} of a guest who was here.") for number in range(1, 101))

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def received(length: int) -> bytes:
    """The answer to a post of `length` bytes; as long for every length, so that one length can be checked."""
    return b'{"received": %7d}' % length


def page(title: str, text: str) -> str:
    """A small page, as a template makes it; the frameworks' views give it back."""
    heading, paragraph = html.escape(title), html.escape(text)
    return f"<!doctype html>\n<title>{heading}</title>\n<h1>{heading}</h1>\n<p>{paragraph}</p>\n"


def file_content(size: int) -> bytes:
    """What a static file holds; does not compress, and is always the same, so that an answer can be checked."""
    return random.Random(size).randbytes(size)


def wsgi_hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", HELLO_LENGTH)])
    return [HELLO]


def wsgi_mixed(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Hello, and a page that waits as one does that asks a database or another service."""
    if environ["PATH_INFO"] == "/slow":
        time.sleep(SLEEP_S)
    return wsgi_hello(environ, start_response)


def wsgi_post(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Read the whole body. It is not decoded: that costs the same under every server and would hide them."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "21")])
    return [received(len(body))]


def wsgi_stream(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    for _ in range(PARTS):
        yield PART


def wsgi_stream_kib(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    for _ in range(PARTS):
        yield LARGE_PART


async def lifespan(receive: Receive, send: Send) -> None:
    """Agree to start and to stop; a server that meets no lifespan may log a complaint or stop."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def asgi_hello(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    headers = [(b"content-type", b"text/plain"), (b"content-length", HELLO_LENGTH_BYTES)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": HELLO})
    return None


async def asgi_stream(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(PARTS):
        await send({"type": "http.response.body", "body": PART, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    return None


async def asgi_post(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, like `wsgi_post`."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    length = 0
    more = True
    while more:
        event = await receive()
        length += len(event.get("body", b""))
        more = event.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"21")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": received(length)})
    return None


async def asgi_echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo what comes over a WebSocket; hello to a request."""
    if scope["type"] != "websocket":
        return await asgi_hello(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})
    return None
