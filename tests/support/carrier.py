"""A session carried by hand: no socket, no clock, and every step held to the table of phases."""

import os
from typing import Any

from septet.http.events import ResponseHead
from septet.http.head import response_head
from septet.http.states import FOLLOWS, WRITE, Phase
from septet.rules import Rules
from septet.session import Session

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
