"""The corpus of raw requests over sockets: every case, to every model and interface, whole, byte by byte and in pieces.

`tests/http/test_corpus.py` sends the same to the engine by hand. One test is one server and one delivery, and tells of
the first cases that went wrong. One connection follows the other: nobody else is at the door, so that no model lets an
idle connection go.
"""

import json
from collections.abc import Iterator

import pytest

from corpus.cases import CASES, Answer, Case, Seen
from support.client import Connection
from support.feeding import TAIL
from support.laws import REFUSALS
from support.marks import engine_decides
from support.messages import DELIVERIES
from support.server import Server

LONGEST_BYTE_BY_BYTE = 1000
"""Bytes; a system call for each of more than that tells nothing that the engine's own test does not."""

ENOUGH = 4
"""Failures that are told of at once."""


@engine_decides
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_corpus(server: Server, interface: str, delivery: str) -> None:
    wrong: list[str] = []
    for case in CASES:
        if interface == "wsgi" and case.data.startswith(b"OPTIONS * "):
            continue  # whose path is a slash there: test_asterisk_form
        if said := try_case(server, case, delivery):
            wrong.append(f"{case}: {said}")
        if len(wrong) == ENOUGH:  # each may have cost the client's whole patience
            break
    assert not wrong, "\n".join(wrong)


def try_case(server: Server, case: Case, delivery: str) -> str | None:
    """What went wrong, if anything did."""
    data = case.data if case.ends else case.data + TAIL
    if delivery == "byte by byte" and len(data) > LONGEST_BYTE_BY_BYTE:
        return None
    with server.connect() as connection:
        try:
            send(connection, DELIVERIES[delivery](data), case.ends)
            answers = list(read_answers(connection, case))
        except AssertionError as error:
            return str(error)
    followed = bool(answers) and answers[-1].seen is not None and answers[-1].seen.path == "/tail"
    return case.difference(answers, closed=not followed)


def send(connection: Connection, pieces: Iterator[bytes], ends: bool) -> None:
    """All of it, unless the server ends the connection in between."""
    try:
        connection.send_pieces(pieces)
        if ends:
            connection.end_sending()
    except OSError:
        pass


def read_answers(connection: Connection, case: Case) -> Iterator[Answer]:
    """Answers until the connection has ended, or until that to the request behind the case's own."""
    methods = iter([each.method if isinstance(each, Seen) else "GET" for each in case.answers])
    while connection.has_more():
        response = connection.read_response(next(methods, "GET"))
        if response.interim:
            assert b"expect" in case.data.lower(), "an interim answer that nobody waits for"
        if response.status in REFUSALS:
            assert response.closes, "a refusal that does not say that it is the end"
        seen = as_seen(response.body) if response.status == 200 else None
        yield Answer(response.status, seen)
        if seen is not None and seen.path == "/tail":
            return


def as_seen(body: bytes) -> Seen | None:
    """What the fixture applications tell of a request; None if it is something else."""
    try:
        told = json.loads(body)
    except ValueError:
        return None
    if "path" not in told:
        return None
    return Seen(**{name: told[name] for name in ("method", "path", "query", "version", "body", "fields")})
