"""Fixtures that run applications with a real session, whose bytes the test moves."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from septet.exchange import Exchange, Response, Want
from septet.protocol import RUN
from septet.rules import Rules
from support.carrier import ByHand, Watched, take_turn


class Answer(NamedTuple):
    status: int
    fields: dict[str, str]
    body: bytes
    raw: bytes


class Exchanged(NamedTuple):
    answer: Answer
    session: Watched


def parse(raw: bytes) -> Answer:
    """An answer that ends with its connection, or is the only one on it."""
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip().lower() for name, _, value in (line.partition(":") for line in lines)}
    if fields.get("transfer-encoding") == "chunked":
        body = unchunk(body)
    return Answer(int(line.split()[1]), fields, body, raw)


def unchunk(data: bytes) -> bytes:
    """The content of a chunked body, as far as it goes if the body is cut short."""
    content = b""
    while data:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        content, data = content + data[:size], data[size + 2 :]
    return content


Run = Callable[..., Exchanged]


@pytest.fixture
def run() -> Run:
    """`run(application, data, rules=None)`: one request up to the end of its answer, where the application may wait."""

    def run_one(application: Callable[[Exchange], Response], data: bytes, rules: Rules | None = None) -> Exchanged:
        session = Watched(rules)
        by_hand = ByHand(session)
        want: Want = session.receive(data)
        while want is RUN:
            want = take_turn(application, session)
        session.close()
        return Exchanged(parse(by_hand.written), session)

    return run_one
