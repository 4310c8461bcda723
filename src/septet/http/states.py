"""The phases of a client connection, and which may follow which.

Each phase says what the connection wants of whoever carries it, how long it may last, and what happens then.
The picture in the documentation is drawn from `FOLLOWS`, and a test holds every session to it.
"""

import enum
from typing import NamedTuple


class Want(enum.Enum):
    """What a connection asks of its carrier."""

    READ = "feed me what the client sends, b'' when it has ended"
    RUN = "it is the application's turn"
    WRITE = "write my output and tell me how much of it went"
    CLOSE = "nothing more will happen on this connection"


READ, RUN, WRITE, CLOSE = Want


class Phase(NamedTuple):
    name: str
    want: Want
    timeout: str | None
    """The field of `Timeouts` that bounds the phase; None where the application decides."""
    answers: bool
    """When time is up: True, the client gets 408; False, the connection just ends."""
    paced: bool = False
    """Time is won back by progress: see `pace`. Else it runs from the beginning of the phase."""


PREFACE = Phase("preface", READ, "header", False)
"""Where the peer is a proxy that begins with a header of the PROXY protocol: that has not all come."""
IDLE = Phase("idle", READ, "keep_alive", False)
"""Nothing of the next request has come."""
HEAD = Phase("head", READ, "header", True)
"""Some of a head has come; the time runs from its first byte."""
BODY = Phase("body", READ, "body", True, paced=True)
"""Somebody waits for more of the body."""
TURN = Phase("turn", RUN, None, False)
"""The application runs."""
ANSWER = Phase("answer", WRITE, "write", False, paced=True)
"""Output waits for the client."""
DRAIN = Phase("drain", READ, "body", False, paced=True)
"""The answer is out; the rest of a body that nobody read is passed over."""
LINGER = Phase("linger", READ, "linger", False)
"""Our side is closed; what the client still sends is passed over, lest a reset overtake our last answer."""
OVER = Phase("over", CLOSE, None, False)

FOLLOWS: dict[Phase, tuple[Phase, ...]] = {
    PREFACE: (IDLE, ANSWER, OVER),
    IDLE: (HEAD, BODY, TURN, ANSWER, OVER),
    HEAD: (BODY, TURN, ANSWER, OVER),
    BODY: (BODY, TURN, ANSWER, OVER),
    TURN: (BODY, TURN, ANSWER, IDLE, HEAD, DRAIN, OVER),
    ANSWER: (ANSWER, TURN, BODY, IDLE, HEAD, DRAIN, OVER),
    DRAIN: (DRAIN, IDLE, HEAD, BODY, TURN, ANSWER, OVER),
    OVER: (LINGER, OVER),
    LINGER: (OVER,),
}
