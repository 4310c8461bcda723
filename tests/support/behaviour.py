"""What the fixture applications do, apart from their interface: `apps_wsgi` and `apps_asgi` answer alike.

Both route by path; a path without a route is an echo. Parameters come in the query.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl

from support.messages import pattern


class DeliberateError(Exception):
    """An application's failure that the test has asked for; the text is looked for in the log."""


Parameters = dict[str, str]


def parameters(query: str) -> Parameters:
    return dict(parse_qsl(query, keep_blank_values=True))


def error(query: Parameters) -> DeliberateError:
    return DeliberateError(f"deliberate {query.get('token', '')}".rstrip())


@contextmanager
def expecting_refusal(query: Parameters) -> Iterator[None]:
    """Where the application breaks its interface on purpose: the server's exception for that is as expected."""
    try:
        yield
    except Exception:
        raise error(query) from None


def to_json(value: object) -> bytes:
    return json.dumps(value).encode()


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def received(body: bytes) -> bytes:
    """The answer to a request whose body was read."""
    return to_json({"length": len(body), "digest": digest(body)})


def parts(query: Parameters) -> Iterator[bytes]:
    """`size` bytes of the pattern in `parts` equal parts; an empty part before and after each with `empty`."""
    body, count = pattern(int(query.get("size", "0"))), int(query.get("parts", "1"))
    step = max(1, -(-len(body) // count))
    for start in range(0, len(body), step):
        if "empty" in query:
            yield b""
        yield body[start : start + step]
        if "empty" in query:
            yield b""


def length_field(query: Parameters) -> list[tuple[str, str]]:
    """A Content-Length if the query asks for one: `length=auto` (the right one) or a number (perhaps a wrong one)."""
    if "length" not in query:
        return []
    length = query["size"] if query["length"] == "auto" else query["length"]
    return [("Content-Length", length)]


#: Header fields that no server may put on the wire as they are.
BAD_FIELDS: dict[str, tuple[str, str]] = {
    "crlf-in-value": ("X-Bad", "a\r\nX-Injected: yes"),
    "lf-in-value": ("X-Bad", "a\nX-Injected: yes"),
    "cr-in-value": ("X-Bad", "a\rX-Injected: yes"),
    "nul-in-value": ("X-Bad", "X-Injected\0"),
    "crlf-in-name": ("X-Bad\r\nX-Injected", "yes"),
    "space-in-name": ("X-Injected Name", "yes"),
    "colon-in-name": ("X-Injected:Name", "yes"),
    "empty-name": ("", "X-Injected"),
}

#: Header fields of every kind that an application may send: repeated, not ASCII, empty.
GOOD_FIELDS: list[tuple[str, str]] = [
    ("Set-Cookie", "a=1; Path=/"),
    ("Set-Cookie", "b=2; Path=/"),
    ("X-Latin", "caf\xe9"),
    ("X-Empty", ""),
    ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("Server", "the application's own"),
]
