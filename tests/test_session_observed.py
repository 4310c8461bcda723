"""What a session has noted of one request is not told of the next one, nor of bytes that were no request."""

from itertools import count
from typing import Any

import pytest

from septet.exchange import Fields, Request
from septet.protocol import RUN, WRITE
from septet.rules import Rules
from septet.session.observed import NotingSession
from support.carrier import CLIENT, SERVER, ok
from support.messages import render

GOOD = render("GET", "/good")
BAD = b"GET / HTTP/9.9\r\n\r\n"


class Noted:
    """An `Observer` that keeps the notes of each answer."""

    def __init__(self) -> None:
        self.ended_with: list[tuple[Any, ...]] = []

    def began(self, exchange: Any) -> None: ...

    def ended(self, exchange: Any) -> None:
        notes = exchange.request_id, exchange.called_ns, exchange.answered_ns, exchange.response_head.status
        self.ended_with.append((exchange.request.target, *notes))

    def closed(self, exchange: Any) -> None: ...


def session_of(noted: Noted) -> NotingSession:
    ids, clock = count(1), count(1000)

    def identify(request: Request, peer: str) -> tuple[Request, str]:
        return request, f"id-{next(ids)}"

    def more_fields(exchange: Any) -> Fields:
        return () if exchange.request_id is None else ((b"X-Id", exchange.request_id.encode()),)

    rules = Rules(identify=identify, more_fields=more_fields, clock=lambda: next(clock), observer=noted)
    return NotingSession(rules, CLIENT, SERVER, lambda: None)


def carry(session: NotingSession) -> bytes:
    """Answer what is there, and return all that is written."""
    written = b""
    while session.want in (RUN, WRITE):
        if session.want is RUN:
            session.called_ns = 5
            session.respond(ok(), b"hello", True)
        else:
            written += bytes(session.output)
            session.wrote(len(session.output))
    return written


@pytest.mark.parametrize("how", ["after it", "in pieces", "pipelined", "late"])
def test_bytes_that_are_no_request_have_no_notes_of_the_request_before(how: str) -> None:
    noted = Noted()
    session = session_of(noted)
    if how == "pipelined":
        session.receive(GOOD + BAD)
        answers = carry(session)
    else:
        session.receive(GOOD)
        answers = carry(session)
        if how == "after it":
            session.receive(BAD)
        elif how == "in pieces":
            session.receive(BAD[:5])
            session.receive(BAD[5:])
        else:
            session.receive(GOOD[:5])
            session.expire()
        answers += carry(session)
    first, second = answers.split(b"hello")
    assert b"X-Id: id-1" in first
    assert second.startswith(b"HTTP/1.1 4" if how == "late" else (b"HTTP/1.1 400", b"HTTP/1.1 505"))
    assert b"X-Id" not in second
    (good, bad) = noted.ended_with
    assert good[:3] == (b"/good", "id-1", 5)
    assert bad[1:3] == (None, 0)
    assert bad[4] >= 400
