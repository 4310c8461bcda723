"""Requests as a browser sends them, again and again, for counts of what one of them costs the server."""

import json
from collections.abc import Iterable
from itertools import count, islice, repeat
from pathlib import Path

from support.client import Connection
from support.messages import render

#: A file of about 4 KiB that has been left alone for a while, so that its server remembers it.
STATIC_FILE = Path(__file__).parent / "processes.py"

_BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://127.0.0.1/guestbook",
    "Connection: keep-alive",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
)

HELLO = render("GET", "/", *_BROWSER)


def _varying(number: int) -> bytes:
    return render("GET", "/", *_BROWSER, f"Cookie: session={number * 7919:032x}", f"X-Request-Id: {number:032x}")


def _balanced(number: int) -> bytes:
    """As a load balancer passes on the requests of many clients."""
    address = f"X-Forwarded-For: 10.{number // 250 % 250}.{number % 250}.7"
    ids = f"X-Request-Id: {number:032x}", f"traceparent: 00-{number:032x}-{number:016x}-01"
    cookie = f"Cookie: session={number * 7919:032x}"
    return render("GET", f"/?page={number}", *_BROWSER, cookie, *ids, address, "X-Forwarded-Proto: https")


#: What is asked for, by its name in the tables: endless.
REQUESTS: dict[str, Iterable[bytes]] = {
    "hello": repeat(HELLO),
    "post": repeat(render("POST", "/post", *_BROWSER, body=b"x" * 1024)),
    "stream": repeat(render("GET", "/stream", *_BROWSER)),
    "static": repeat(render("GET", f"/static/{STATIC_FILE.name}", *_BROWSER)),
    "varying": map(_varying, count()),
    "balanced": map(_balanced, count()),
}

#: What a server is to be given for them all.
STATIC = ("--static", f"/static={STATIC_FILE.parent}")


def visit(connection: Connection, requests: Iterable[bytes], times: int) -> None:
    """So many requests, each after the answer to the last."""
    for request in islice(requests, times):
        connection.send(request)
        assert connection.read_response().status == 200


def visit_together(connections: list[Connection], times: int) -> None:
    """So many rounds; in each, all send before the first reads."""
    for _ in range(times):
        for connection in connections:
            connection.send(HELLO)
        for connection in connections:
            assert connection.read_response().status == 200


def spent(connection: Connection) -> tuple[int, int, int]:
    """What `apps_measured.spent` tells: calls, instructions, blocks."""
    calls, instructions, blocks = json.loads(connection.request("GET", "/spent").body)
    return calls, instructions, blocks
