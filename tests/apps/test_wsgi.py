"""The answers of a WSGI application (PEP 3333) in all their forms: iterables, write(), and what breaks the rules."""

import io
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from septet.apps._call import Call
from septet.apps.wsgi import Wsgi, _Incoming
from septet.exchange import ClientGone
from septet.protocol import RUN
from septet.rules import Rules
from support.carrier import ByHand, Watched, ok, take_turn
from support.messages import render
from support.struck import struck_at

Run = Callable[..., Any]
Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], None]]

PLAIN = [("Content-Type", "text/plain")]
GET = render("GET", "/")


class Closing:
    """An iterable of these parts that counts how often it is closed."""

    def __init__(self, *parts: bytes) -> None:
        self.closed = 0
        self.parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)

    def close(self) -> None:
        self.closed += 1


def answering(result: Any, headers: list[tuple[str, str]] = PLAIN) -> Wsgi:
    def application(environ: Environ, start_response: Start) -> Any:
        start_response("200 OK", headers)
        return result() if callable(result) else result

    return Wsgi(application)


@pytest.mark.parametrize(
    ("result", "body", "framing"),
    [
        ([b"one"], b"one", "3"),
        ((b"one",), b"one", "3"),
        ([], b"", "0"),
        ([b""], b"", "0"),
        ([b"one", b"two"], b"onetwo", None),
        ([b"", b"one", b"", b"two"], b"onetwo", None),
        (lambda: iter([b"one"]), b"one", None),
        (lambda: (part for part in (b"", b"")), b"", "0"),
        (lambda: Closing(b"one", b"two"), b"onetwo", None),
        (lambda: io.BytesIO(b"one\ntwo"), b"one\ntwo", None),
    ],
)
def test_iterables(run: Run, result: Any, body: bytes, framing: str | None) -> None:
    """A sequence of one part has a known length (PEP 3333, "Handling the Content-Length Header")."""
    answer, session = run(answering(result), GET)
    assert (answer.status, answer.body, answer.fields.get("content-length")) == (200, body, framing)
    assert session.http.keep_alive


def test_head_request_has_the_fields_and_no_content(run: Run) -> None:
    answer, _ = run(answering([b"one"]), render("HEAD", "/"))
    assert (answer.fields["content-length"], answer.body) == ("3", b"")


@pytest.mark.parametrize("parts", [(), (b"",), (b"one",), (b"one", b"two")])
def test_iterable_is_closed_once(run: Run, parts: tuple[bytes, ...]) -> None:
    iterable = Closing(*parts)
    run(answering(iterable), GET)
    assert iterable.closed == 1


def test_iterable_that_raises_is_closed(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    class Raising(Closing):
        def __iter__(self) -> Iterator[bytes]:
            yield from self.parts
            raise OSError("no more")

    for parts, status in (((), 500), ((b"one",), 200)):
        iterable = Raising(*parts)
        answer, session = run(answering(iterable), GET)
        assert (answer.status, iterable.closed) == (status, 1)
        assert session.lost is (status == 200)
    assert [record.exc_info is not None for record in caplog.records] == [True, True]


def test_status_may_change_until_there_is_content(run: Run) -> None:
    """PEP 3333: the head is not sent before the first part that is not empty."""

    def application(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b""
        try:
            raise KeyError
        except KeyError:
            start_response("503 Out", [("A", "b")], sys.exc_info())
        yield b"sorry"

    answer, _ = run(Wsgi(application), GET)
    assert (answer.status, answer.fields["a"], answer.body) == (503, "b", b"sorry")


def test_status_cannot_change_after_that(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"part"
        try:
            raise KeyError("the cause")
        except KeyError:
            start_response("500 Late", PLAIN, sys.exc_info())

    answer, session = run(Wsgi(application), GET)
    assert (answer.status, session.lost) == (200, True)
    assert "the cause" in caplog.text


def test_start_response_is_called_when_iteration_begins(run: Run) -> None:
    def application(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("201 Made", PLAIN)
        yield b"late"

    answer, _ = run(Wsgi(application), GET)
    assert (answer.status, answer.body) == (201, b"late")


def bad_twice(environ: Environ, start_response: Start) -> list[bytes]:
    start_response("200 OK", PLAIN)
    start_response("200 OK", PLAIN)
    return [b""]


def bad_never(environ: Environ, start_response: Start) -> list[bytes]:
    return [b"content"]


def bad_splitting(environ: Environ, start_response: Start) -> list[bytes]:
    start_response("200 OK", [("A", "b\r\nSet-Cookie: c")])
    return [b""]


def bad_status(environ: Environ, start_response: Start) -> list[bytes]:
    start_response("OK", PLAIN)
    return [b""]


def bad_text(environ: Environ, start_response: Start) -> list[bytes]:
    start_response("200 OK", [("A", "\u20ac")])
    return [b""]


def bad_content(environ: Environ, start_response: Start) -> list[Any]:
    start_response("200 OK", PLAIN)
    return ["text"]


def bad_nothing(environ: Environ, start_response: Start) -> None:
    start_response("200 OK", PLAIN)


@pytest.mark.parametrize(
    "application", [bad_twice, bad_never, bad_splitting, bad_status, bad_text, bad_content, bad_nothing]
)
def test_application_that_breaks_the_rules(run: Run, application: Any, caplog: pytest.LogCaptureFixture) -> None:
    """500, and a traceback that says what is wrong; no byte of the invalid answer is sent."""
    answer, _ = run(Wsgi(application), GET)
    assert answer.status == 500
    assert caplog.records[-1].levelno == logging.ERROR


def test_writing(run: Run) -> None:
    """PEP 3333, "The write() Callable": before the iterable's parts, which follow it."""

    def application(environ: Environ, start_response: Start) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"")
        write(b"one ")
        write(b"two ")
        return [b"three"]

    answer, session = run(Wsgi(application), GET)
    assert answer.body == b"one two three"
    assert answer.raw.count(b"HTTP/1.1") == 1
    assert session.http.keep_alive


def test_writing_only(run: Run) -> None:
    def application(environ: Environ, start_response: Start) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "3")])(b"one")
        return []

    answer, session = run(Wsgi(application), GET)
    assert (answer.body, answer.raw.count(b"HTTP/1.1")) == (b"one", 1)
    assert session.http.keep_alive


def test_turn_of_a_lost_client(caplog: pytest.LogCaptureFixture) -> None:
    session = Watched()
    ByHand(session)
    session.receive(GET)
    session.respond(ok(), b"a", False)
    session.lose()
    assert take_turn(answering([b"a"]), session) is session.want


@pytest.mark.parametrize("number", range(45))
def test_what_interrupts_the_reading_loses_nothing_of_the_body(number: int) -> None:
    """An application that goes on to read, after an exception of a signal handler or for want of memory, gets the rest,
    or is told that it cannot have it."""
    body = bytes(range(20))
    session = Watched(Rules())
    assert session.receive(render("POST", "/", body=body)[:-10]) is RUN
    ByHand(session, lambda: body[-10:])
    incoming = _Incoming(Call(session))
    buffer, taken, count = bytearray(7), b"", 0

    def read() -> None:
        nonlocal count
        count = 0
        count = incoming.readinto(buffer)

    struck_at(number, read, real=True)
    taken += buffer[:count]
    try:
        read()
        while count:
            taken += buffer[:count]
            read()
    except ClientGone:
        assert body.startswith(taken)
    else:
        assert taken == body
