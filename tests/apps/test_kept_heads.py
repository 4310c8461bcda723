"""Heads of answers are remembered for all requests, and must hold nothing of an application's."""

import gc
import weakref
from typing import Any

from septet.apps._call import Call
from septet.apps._messages import head_of
from septet.http2.answers import lowered


class Text(str):
    """A string that an application has made its own."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError("deliberate")


class Octets(bytes):
    class Held:
        """bytes themselves have no weak references."""

    held: Held

    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError("deliberate")


def start(status: str, headers: list[tuple[str, str]]) -> Any:
    call = Call(None)  # type: ignore[arg-type]
    call.start_response(status, headers)
    return call.head


def test_own_strings_are_not_kept() -> None:
    value = Text("kept by nobody")
    ended = weakref.ref(value)
    start("200 OK", [("X-Own", value)])
    del value
    gc.collect()
    assert ended() is None


def test_own_strings_are_not_compared_in_other_requests() -> None:
    start("200 OK", [("X-Compared", Text("a"))])
    assert start("200 OK", [("X-Compared", "a")]).fields == ((b"X-Compared", b"a"),)


def test_own_bytes() -> None:
    value = Octets(b"kept by nobody")
    value.held = Octets.Held()
    ended = weakref.ref(value.held)
    head_of({"status": 200, "headers": [(b"x-own", value)]})
    del value
    gc.collect()
    assert ended() is None
    head_of({"status": 200, "headers": [(b"x-compared", Octets(b"a"))]})
    assert head_of({"status": 200, "headers": [(b"x-compared", b"a")]}).fields == ((b"x-compared", b"a"),)


def test_plain_heads_are_kept() -> None:
    assert start("200 OK", [("X-Plain", "a")]) is start("200 OK", [("X-Plain", "a")])


class Status(int):
    """A status that an application has made its own, as an IntEnum does."""

    held: Octets.Held


def test_own_status() -> None:
    value = Status(299)
    value.held = Octets.Held()
    ended = weakref.ref(value.held)
    assert head_of({"status": value, "headers": [(b"x-status", b"a")]}).status == 299
    del value
    gc.collect()
    assert ended() is None


def test_own_bytes_over_http2() -> None:
    value = Octets(b"kept by nobody")
    value.held = Octets.Held()
    ended = weakref.ref(value.held)
    assert lowered(head_of({"status": 200, "headers": [(b"X-Own", value)]}).fields)[0] == (b"x-own", b"kept by nobody")
    del value
    gc.collect()
    assert ended() is None
    lowered(head_of({"status": 200, "headers": [(b"x-http2", Octets(b"a"))]}).fields)
    assert lowered(((b"x-http2", b"a"),)) == ((b"x-http2", b"a"),)


def test_headers_that_can_be_read_once() -> None:
    """ASGI has them an iterable of iterables."""
    headers = ([name, b"a"] for name in (b"x-once", b"x-too"))
    assert head_of({"status": 200, "headers": headers}).fields == ((b"x-once", b"a"), (b"x-too", b"a"))
