"""The phases of a client connection, and which may follow which.

Each phase says what the connection wants of whoever carries it, how long it may last, and what happens then.
The picture in the documentation is drawn from `FOLLOWS`, and a test holds every session to it.
"""

from septet.protocol import CLOSE, READ, RUN, WRITE, Phase

PROXY_HEADER = Phase("preface", READ, "header", idle=True)
"""Where the peer is a proxy that begins with a header of the PROXY protocol: that has not all come."""
IDLE = Phase("idle", READ, "keep_alive", idle=True)
"""Nothing of the next request has come."""
HEAD = Phase("head", READ, "header", answers=True, interruptible=True)
"""Some of a head has come; the time runs from its first byte."""
BODY = Phase("body", READ, "body", answers=True, paced=True)
"""Somebody waits for more of the body."""
TURN = Phase("turn", RUN, None)
"""The application runs."""
ANSWER = Phase("answer", WRITE, "write", paced=True)
"""Output waits for the client."""
DRAIN = Phase("drain", READ, "body", paced=True, interruptible=True)
"""The answer is out; the rest of a body that nobody read is passed over."""
LINGER = Phase("linger", READ, "linger", interruptible=True)
"""Our side is closed; what the client still sends is passed over, lest a reset overtake our last answer."""
OVER = Phase("over", CLOSE, None)

FOLLOWS: dict[Phase, tuple[Phase, ...]] = {
    PROXY_HEADER: (IDLE, ANSWER, OVER),
    IDLE: (HEAD, BODY, TURN, ANSWER, OVER),
    HEAD: (BODY, TURN, ANSWER, OVER),
    BODY: (BODY, TURN, ANSWER, OVER),
    TURN: (BODY, TURN, ANSWER, IDLE, HEAD, DRAIN, OVER),
    ANSWER: (ANSWER, TURN, BODY, IDLE, HEAD, DRAIN, OVER),
    DRAIN: (DRAIN, IDLE, HEAD, BODY, TURN, ANSWER, OVER),
    OVER: (LINGER, OVER),
    LINGER: (OVER,),
}
