"""The judgement of `make apps`: what is a difference between two answers, an error in a log, a failure of a visit."""

from pathlib import Path

import pytest

from real_apps.comparison import differences
from real_apps.servers import complaints_of_ours
from real_apps.visit import LASTING_PROCESS, SHARED_MEMORY, Observation, Site, Step, expect, walk

HTML = ("Content-Type", "text/html")


def compare(
    ours: tuple[tuple[str, str], ...], theirs: tuple[tuple[str, str], ...], body: bytes = b"", their_body: bytes = b""
) -> list[tuple[str, bool]]:
    scrub = ((rb"token=\w+", b"<token>"), (rb"^set-cookie: id=\w+", b"set-cookie: <id>"))
    answers = [Observation("GET /", 200, fields, content) for fields, content in ((ours, body), (theirs, their_body))]
    return [(text, remark) for text, remark in differences(answers[:1], answers[1:], scrub)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((HTML,), (("content-type", "text/html"),)),
        ((("X-A", "1"), ("X-B", "2")), (("X-B", "2"), ("X-A", "1"))),
        ((("Server", "septet"), ("Date", "today")), (("Server", "gunicorn"), ("Connection", "keep-alive"))),
        ((("Set-Cookie", "id=a; Path=/"),), (("Set-Cookie", "id=b; Path=/"),)),
        ((("Location", "http://127.0.0.1:1/x"),), (("Location", "http://127.0.0.1:2/x"),)),
        (
            (("Expires", "Sat, 28 Nov 2026 10:00:00 GMT"),),
            (("Expires", "Sat, 28 Nov 2026 10:00:01 GMT"),),
        ),
    ],
)
def test_no_difference(ours: tuple[tuple[str, str], ...], theirs: tuple[tuple[str, str], ...]) -> None:
    assert compare(ours, theirs) == []


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((), (HTML,)),
        ((HTML,), ()),
        ((HTML,), (("Content-Type", "text/plain"),)),
        ((("Set-Cookie", "a=1"),), (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))),
        ((("X-A", "1"), ("X-A", "2")), (("X-A", "2"), ("X-A", "1"))),
        ((("Transfer-Encoding", "chunked"),), (("Content-Length", "7"),)),
        ((("Content-Length", "8"),), (("Content-Length", "7"),)),
    ],
)
def test_difference(ours: tuple[tuple[str, str], ...], theirs: tuple[tuple[str, str], ...]) -> None:
    assert [remark for _, remark in compare(ours, theirs)] == [False]


def test_length_where_the_peer_has_chunks_is_a_remark() -> None:
    found = compare((("Content-Length", "7"),), (("Transfer-Encoding", "chunked"),))
    assert found == [("GET /: framed by a length, the peer's by chunked", True)]


def test_bodies() -> None:
    assert compare((), (), b"token=a", b"token=bc") == []
    assert compare((), (), b"hello", b"hullo") == [("GET /: another body: b'hello', the peer's b'hullo'", False)]
    assert compare((), (), b"hell", b"hello") == [("GET /: another body: 4 bytes, the peer's has 5", False)]


def test_status_and_number_of_answers() -> None:
    first, second = Observation("GET /", 200, (), b""), Observation("GET /", 500, (), b"")
    assert [text for text, _ in differences([second], [first], ())] == ["GET /: status 500, the peer's is 200"]
    [(text, remark)] = differences([first], [first, Observation("GET /b", 200, (), b"")], ())
    assert not remark
    assert "GET /b is the first without a counterpart" in text


def test_log() -> None:
    ours = (
        "septet: listening\n2026-11-28 10:00:00,000 7 ERROR django.request: Internal Server Error: /a\n"
        "Traceback (most recent call last):\n  File x\nValueError: of <A object at 0x7f>\n"
        "2026-11-28 10:00:00,000 7 WARNING septet: slow\n"
    )
    assert complaints_of_ours(ours, "") == ["ValueError: of <A object at ...>", "Internal Server Error: /a"]
    assert complaints_of_ours(ours, "Internal Server Error: /a\nValueError: of <A object at 0x1b>\n") == []


def test_a_step_that_fails_does_not_hide_the_next(tmp_path: Path) -> None:
    def fail(site: Site) -> None:
        site.observe("GET /", 500, (), b"")
        expect(500, 200, "the status")

    def succeed(site: Site) -> None:
        site.observe("GET /", 200, (), b"")

    outcomes = walk([Step("fail", fail), Step("succeed", succeed)], Site("http://127.0.0.1:1", tmp_path))
    assert [outcome.problem for outcome in outcomes] == ["the status is 500, not 200", ""]
    assert [outcome.observations[0].status for outcome in outcomes] == [500, 200]


def test_models_are_excused_from_what_they_cannot_have() -> None:
    shared, lasting = Step("a", print, frozenset({SHARED_MEMORY})), Step("b", print, frozenset({LASTING_PROCESS}))
    assert [shared.excepted(model) for model in ("forking", "preforked", "threaded")] == [True, True, False]
    assert [lasting.excepted(model) for model in ("forking", "preforked", "threaded")] == [True, False, False]
    assert not Step("c", print).excepted("forking")
