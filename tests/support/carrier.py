"""A session carried by hand: no socket, no clock, and every step held to the table of phases."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from typing import Any

from septet.exchange import ClientGone, Exchange, Fields, Part, Response, ResponseHead, Want
from septet.http.head import response_head
from septet.models._answer import answer
from septet.protocol import READ, WRITE, Phase
from septet.rules import Rules
from septet.session.http1 import Session
from septet.session.phases import FOLLOWS

CLIENT = ("192.0.2.1", 50000)
SERVER = ("192.0.2.2", 80)


class Watched(Session):
    """A session that remembers its phases, and asserts that each may follow the one before."""

    __slots__ = ("trail",)

    def __init__(self, rules: Rules | None = None, client: tuple[str, int] | None = CLIENT) -> None:
        self.trail: list[Phase] = []
        super().__init__(rules or Rules(), client, SERVER)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "phase":
            if self.trail:
                assert value in FOLLOWS[self.phase], f"{self.phase.name} -> {value.name} is not in the table"
            self.trail.append(value)
        super().__setattr__(name, value)

    def take(self, count: int) -> bytes:
        """Up to `count` of the bytes that are to be written next, without telling the session."""
        if self.output:
            return bytes(self.output[:count])
        assert self.file is not None, "a session that wants WRITE has output or a file"
        return os.pread(self.file.descriptor, min(count, self.file.count), self.file.offset)


def write_all(session: Watched) -> bytes:
    """All that the session wants written until it wants something else."""
    written = b""
    while session.want is WRITE:
        data = session.take(1 << 20)
        session.wrote(len(data))
        written += data
    return written


def ok(*fields: tuple[bytes, bytes]) -> ResponseHead:
    return response_head(200, b"OK", fields)


class ByHand:
    """A `Delivery` to nowhere: what the session wants written is kept in `written`."""

    def __init__(self, session: Watched, bring: Callable[[], bytes] = bytes) -> None:
        self.session = session
        self.written = b""
        self._bring = bring
        session.delivery = self

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None:
        session = self.session
        if head is None:
            session.push(body, last)
        else:
            session.respond(head, body, last)
        self.written += write_all(session)
        if session.lost and not last:
            raise ClientGone("the client went away")

    def inform(self, status: int, fields: Fields) -> None:
        self.session.inform(status, fields)
        self.written += write_all(self.session)

    def check_client(self) -> None:
        """The test says when the client goes."""

    def give_up(self) -> None:
        self.session.fail()
        self.written += write_all(self.session)

    turn: AbstractContextManager[object] = nullcontext()

    def await_body(self) -> None:
        """The client sends what `bring` gives."""
        self.written += write_all(self.session)
        if self.session.want is READ:
            self.session.receive(self._bring())


def take_turn(application: Callable[[Exchange], Response], session: Watched) -> Want:
    """Run the application for the session's request; what the session wants then. `session.delivery` is a `ByHand`."""
    assert isinstance(session.delivery, ByHand)
    Context().run(answer, application, session, session.delivery)
    return session.want
