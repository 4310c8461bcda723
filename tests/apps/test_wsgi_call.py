"""One call of a WSGI application: what `start_response`, `write` and `early_hints` accept, and until when."""

import io
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Event, Thread
from typing import Any

import pytest

from septet.apps.wsgi import Wsgi
from septet.rules import Rules
from septet.session.phases import IDLE
from support.messages import render

Run = Callable[..., Any]
Start = Callable[..., Callable[[Any], None]]

GET = render("GET", "/")


@pytest.mark.parametrize("pair", [tuple, list])
def test_pairs_of_any_kind(run: Run, pair: Callable[[Any], Any]) -> None:
    def application(environ: Any, start_response: Start) -> list[bytes]:
        start_response("200 OK", [pair(("A", "b"))])
        return [b""]

    assert run(Wsgi(application), GET).answer.fields["a"] == "b"


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (200, [], "string such as '200 OK'"),
        (b"200 OK", [], "string such as '200 OK'"),
        ("OK", [], "not a status"),
        ("20 OK", [], "not a status"),
        ("700 OK", [], "between 200 and 599"),
        ("200 OK\r\nA: b", [], "control byte"),
        ("200 \u20ac", [], "latin-1"),
        ("200 OK", [("A", 1)], "are strings"),
        ("200 OK", [(b"A", b"b")], "are strings"),
        ("200 OK", [("A", "\u20ac")], "latin-1"),
        ("200 OK", [("\xe9", "a")], "not the name"),
        ("200 OK", [("A", None)], "are strings"),
    ],
)
def test_head_that_is_none(
    run: Run, caplog: pytest.LogCaptureFixture, status: Any, headers: list[Any], words: str
) -> None:
    """The exception says what is wrong, in the terms of PEP 3333."""

    def application(environ: Any, start_response: Start) -> list[bytes]:
        start_response(status, headers)
        return [b"content"]

    assert run(Wsgi(application), GET).answer.status == 500
    assert words in caplog.text


def test_writing_and_iterating_keep_their_order(run: Run) -> None:
    def application(environ: Any, start_response: Start) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        write(b"1")
        write(bytearray(b"2"))
        yield b"3"
        write(b"4")
        yield b"5"

    assert run(Wsgi(application), GET).answer.body == b"12345"


def test_what_is_written_cannot_be_replaced(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """PEP 3333: start_response raises its exc_info where the answer has begun."""

    def application(environ: Any, start_response: Start) -> list[bytes]:
        start_response("200 OK", [])(b"written")
        try:
            raise KeyError("the cause")
        except KeyError:
            start_response("503 Out", [], sys.exc_info())
        return [b"never"]

    raw = run(Wsgi(application), GET).answer.raw
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert b"never" not in raw
    assert "the cause" in caplog.text


@pytest.mark.parametrize("parts", [[b"one"], [b"one", b"two"], iter([b"one"])])
def test_what_is_kept_from_a_call_is_void(run: Run, parts: Any) -> None:
    kept: list[Any] = []

    def application(environ: Any, start_response: Start) -> Any:
        kept.extend((start_response("200 OK", []), environ["wsgi.early_hints"], start_response))
        return parts

    run(Wsgi(application), GET)
    write, early_hints, start_response = kept
    with pytest.raises(RuntimeError, match="complete"):
        write(b"late")
    with pytest.raises(RuntimeError, match="before the answer"):
        early_hints([])
    with pytest.raises(KeyError):
        start_response("500 Late", [], (KeyError, KeyError(), None))


def test_file_of_text_ends(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A text file ends with '', not b'', so it would be read for ever."""

    def application(environ: Any, start_response: Start) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.StringIO(""))

    assert run(Wsgi(application), GET).answer.status == 500
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_early_hints_come_before_the_answer(run: Run) -> None:
    def application(environ: Any, start_response: Start) -> list[bytes]:
        environ["wsgi.early_hints"]([("Link", "</a>; rel=preload"), ("X", "caf\xe9")])
        start_response("200 OK", [])
        return [b"fine"]

    raw = run(Wsgi(application), GET).answer.raw
    hints, _, answer = raw.partition(b"\r\n\r\n")
    assert hints == b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nX: caf\xe9"
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"


# The end of an answer


class Iterable:
    """Calls `begin` in `__iter__`, and counts how often it is closed."""

    def __init__(self, begin: Callable[[], Any]) -> None:
        self._begin = begin
        self.closed = 0

    def __iter__(self) -> Any:
        return self._begin()

    def close(self) -> None:
        self.closed += 1


def raising() -> Any:
    raise SystemExit("deliberate")


def no_iterator() -> Any:
    return None


def of_a_length_that_raises() -> Any:
    return iter([b"one"])


class WithoutLength(Iterable):
    def __len__(self) -> int:
        raise SystemExit("deliberate")


@pytest.mark.parametrize("iterable", [Iterable(raising), Iterable(no_iterator), WithoutLength(of_a_length_that_raises)])
def test_what_cannot_be_iterated_is_closed(run: Run, iterable: Iterable) -> None:
    kept: list[Any] = []

    def application(environ: Any, start_response: Start) -> Any:
        kept.append(start_response("200 OK", []))
        return iterable

    assert run(Wsgi(application), GET).answer.status == 500
    assert iterable.closed == 1
    with pytest.raises(RuntimeError, match="complete"):
        kept[0](b"late")


@pytest.mark.parametrize("parts", [[b"12345"], [b"12", b"", b"345"]])
def test_an_answer_ends_with_its_content_length(run: Run, parts: list[bytes]) -> None:
    """The client does not wait for code after a generator's last part, and what that raises does not reach it."""
    kept: list[Any] = []
    ended: list[bool] = []

    def application(environ: Any, start_response: Start) -> Any:
        kept.append(start_response("200 OK", [("Content-Length", "5")]))
        yield from parts
        with pytest.raises(RuntimeError, match="complete"):
            kept[0](b"late")
        ended.append(True)
        raise KeyError("deliberate")

    answer, session = run(Wsgi(application), GET + render("GET", "/", "Connection: close"))
    assert answer.raw.count(b"HTTP/1.1 200 ") == 2
    assert answer.raw.count(b"12345") == 2
    assert ended == [True, True]
    assert not session.lost


def test_excess_after_the_end_is_told(run: Run) -> None:
    said: list[str] = []
    asked: list[int] = []

    def application(environ: Any, start_response: Start) -> Any:
        start_response("200 OK", [("Content-Length", "5")])
        yield b"12345"
        while True:
            asked.append(1)
            yield b"67"

    answer, _ = run(Wsgi(application), GET, Rules(complain=said.append))
    assert answer.body == b"12345"
    assert len(asked) == 1
    assert said == ["the answer to GET / has 7 bytes or more, but its Content-Length is 5: the excess is left out"]


@pytest.mark.parametrize("catches", [True, False])
@pytest.mark.parametrize(
    ("data", "status", "fields"),
    [
        (render("HEAD", "/"), "200 OK", []),
        (GET, "304 Not Modified", []),
        (GET, "200 OK", [("Content-Length", "4")]),
    ],
    ids=["HEAD", "304", "beyond its Content-Length"],
)
def test_endless_writing_ends_where_nothing_more_is_wanted(
    run: Run, data: bytes, status: str, fields: list[tuple[str, str]], catches: bool, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[OSError] = []

    def application(environ: Any, start_response: Start) -> list[bytes]:
        write = start_response(status, fields)
        try:
            while True:
                write(b"more")
        except OSError as error:
            told.append(error)
            if not catches:
                raise
        return []

    answer, session = run(Wsgi(application), data)
    assert answer.status == int(status[:3])
    assert told
    assert not session.lost
    assert session.phase is IDLE
    assert caplog.records == []


def test_early_hints_that_take_longer_than_the_answer(run: Run) -> None:
    """A thread of the application gives them by an iterator that waits: they do not go before the next answer."""
    begun, over, raised = Event(), Event(), Future[None]()

    def late() -> Iterator[tuple[str, str]]:
        begun.set()
        over.wait()
        yield "Link", "</a>"

    def application(environ: Any, start_response: Start) -> list[bytes]:
        def hint() -> None:
            try:
                raised.set_result(environ["wsgi.early_hints"](late()))
            except RuntimeError as error:
                raised.set_exception(error)

        Thread(target=hint).start()
        begun.wait()
        start_response("200 OK", [])
        return [b"content"]

    assert run(Wsgi(application), GET).answer.status == 200
    over.set()
    with pytest.raises(RuntimeError, match="before the answer"):
        raised.result()
