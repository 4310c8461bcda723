"""A session carried by hand: no socket, no clock, and every step held to the table of phases."""

import os

from septet.http.events import ResponseHead
from septet.http.head import response_head
from septet.http.states import FOLLOWS, WRITE, Phase, Want
from septet.session import Rules, Session

CLIENT = ("192.0.2.1", 50000)
SERVER = ("192.0.2.2", 80)


class Watched(Session):
    """A session that remembers its phases, and asserts that each may follow the one before."""

    __slots__ = ("trail",)

    def __init__(self, rules: Rules | None = None) -> None:
        super().__init__(rules or Rules(), CLIENT, SERVER)
        self.trail = [self.phase]

    def _enter(self, phase: Phase) -> Want:
        assert phase in FOLLOWS[self.phase], f"{self.phase.name} -> {phase.name} is not in the table"
        self.trail.append(phase)
        return super()._enter(phase)

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
