"""Heads of answers are remembered for all requests, and must hold nothing of an application's."""

import gc
import weakref
from typing import Any

from septet.apps._call import Call
from septet.apps._messages import head_of


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
