"""Two pages of some milliseconds of CPU time, for `gil.py`: each answers with a few bytes that depend on all its work.

`numbers` shares nothing with another thread but the code that it runs. `table` is what a page usually is: it makes some
thousand objects, sorts them and formats them, so that memory is allocated and the garbage collector runs.
"""

import zlib
from collections.abc import Awaitable, Callable
from typing import Any

STEPS = 120_000
ROWS = 4_000


def numbers() -> bytes:
    value = 1
    for step in range(STEPS):
        value = (value * 1_103_515_245 + 12_345 + step) & 0x7FFFFFFF
    return b"%08x" % value


def table() -> bytes:
    rows = [
        {"name": f"item {number}", "price": number * 7919 % 10_007, "tags": ["a", "b", str(number % 7)]}
        for number in range(ROWS)
    ]
    rows.sort(key=lambda row: row["price"])
    text = "".join(
        f"<tr><td>{row['name']}</td><td>{row['price'] / 100:.2f}</td><td>{', '.join(row['tags'])}</td></tr>"
        for row in rows
    )
    return b"%08x" % zlib.crc32(text.encode())


PAGES = {"/numbers": numbers, "/table": table}


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    body = PAGES[environ["PATH_INFO"]]()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    body = PAGES[scope["path"]]()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
