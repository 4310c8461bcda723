"""The attributes of an HTTP/2 session, and its phases. A base class of the parts of `session.http2.Http2Session`."""

from collections.abc import Callable
from typing import Any

from septet.exchange import Delivery, FileRegion, TlsInfo, Want
from septet.http2.budget import Allowance
from septet.http2.connection import Http2Connection
from septet.http2.priority import ByUrgency
from septet.protocol import EITHER, READ, RUN, TURN, WRITE, Phase
from septet.rules import Rules
from septet.session._http2_exchange import Http2Exchange
from septet.session.phases import Pace

PREFACE = Phase("http2-preface", READ, lambda timeouts: timeouts.header, idle=True)
"""Phase: the preface, with which a client of HTTP/2 must begin (RFC 9113 section 3.4), has not come completely."""
IDLE = Phase("http2-idle", READ, lambda timeouts: timeouts.keep_alive, idle=True)
"""Phase: no stream is open."""
HEAD = Phase("http2-head", READ, lambda timeouts: timeouts.header, interruptible=True)
"""Phase: a header block has begun and has not ended."""
OPEN = Phase("http2-open", READ, lambda timeouts: timeouts.write, paced=True, interruptible=True)
"""Phase: streams are open; applications run, or the client is expected to send or read something."""
DUE = Phase("http2-due", TURN, None)
"""Phase: the model must call or wake an exchange's application. It occurs in models that run several exchanges of a
connection at the same time.
"""
RUNNING = Phase("http2-running", RUN, None)
"""Phase: the application runs for one exchange. It occurs in models that run one exchange of a connection at a time."""
OUTPUT = Phase("http2-output", EITHER, lambda timeouts: timeouts.write, paced=True)
"""Phase: output waits for the client."""
REST = Phase("http2-rest", EITHER, lambda timeouts: timeouts.write, paced=True, interruptible=True)
"""Phase: output waits for the client, and is of no request: frames of control, and what is left of a stream that was
reset.
"""
LAST_OPEN = Phase("http2-last-open", READ, lambda timeouts: timeouts.write, paced=True, deaf=True)
"""Phase: applications run, and the client sends no more."""
LAST_OUTPUT = Phase("http2-last-output", WRITE, lambda timeouts: timeouts.write, paced=True)
"""Phase: output waits for the client, which sends no more."""
LAST_REST = Phase("http2-last-rest", WRITE, lambda timeouts: timeouts.write, paced=True, interruptible=True)
"""Phase: as REST, and the client sends no more."""
WRITING = (OUTPUT, REST, LAST_OUTPUT, LAST_REST)

RESETS = 100
"""Number of streams that may be reset in quick succession; one more ends the connection. Answered requests and time
(RESETS_PER_S) win the number back. Go's server allows 4 for each stream that may be open, hyper 20.
"""

CONTROL_FRAMES = 1000
"""Number of useless frames (PING, SETTINGS, WINDOW_UPDATE and others) that may come in quick succession; one more ends
the connection. Requests, content and time win the number back (EARNED_BY_REQUEST, EARNED_BY_CONTENT, EARNED_PER_S).
"""


class Unfinished:
    """A stream whose answer is complete and whose request is not. `came`: bytes that have come of the request since.
    `until`: when the stream is reset, in seconds on the clock of `deadline`; None before it is called.
    """

    __slots__ = ("came", "until")

    def __init__(self) -> None:
        self.came = 0
        self.until: float | None = None


class Http2State:
    """The attributes of an HTTP/2 session. `rules`: what all sessions of the server share."""

    __slots__ = (
        *(
            "_announced_at",
            "_announcement_ends",
            "_earned_at",
            "_closing",
            "_concurrent",
            "_control",
            "_current",
            "_discarded",
            "_draining",
        ),
        *("_exchanges", "_file_of", "_late_until", "_leaving", "_lingers", "_pace", "_refusing", "_resets"),
        *("_scheme", "_senders", "_sent", "_served", "_stalled", "_to_report", "_turns", "_unfinished", "client"),
        *("codec", "delivery", "ended", "exchange", "file", "lost", "output", "peer", "phase", "rules"),
        *("refused_until", "server", "since", "stopping", "stops_now", "tls", "unread_ms"),
    )

    def __init__(
        self,
        rules: Rules,
        client: tuple[str, int] | None,
        server: tuple[str, int | None],
        peer: str,
        scheme: str,
        unread_ms: Callable[[], int | None],
    ) -> None:
        self.rules = rules
        self.client = client
        self.server = server
        self.peer = peer
        """The peer, as lists of trusted proxies name it: its IP address, or "unix:" on a unix socket; "" if unknown."""
        self.unread_ms = unread_ms
        """A function that returns how many milliseconds ago the client's last bytes came; None if that is not known."""
        self.tls: TlsInfo | None = None
        self.delivery: Delivery | None = None
        self.codec = Http2Connection(rules.limits.header_block, rules.websocket is not None)
        self._scheme = scheme
        self._concurrent = rules.concurrent
        self.phase = PREFACE
        self.since: float | None = None
        self.output: bytes | memoryview = b""
        self.file: FileRegion | None = None
        self._file_of: Http2Exchange | None = None
        """The exchange to whose answer the bytes in `file` belong; None if there is no file."""
        self.exchange: Any = None
        self._current: Http2Exchange | None = None
        """In a model that runs one exchange at a time: the one that runs; None if there is none."""
        self._exchanges: dict[int, Http2Exchange] = {}
        """The exchanges whose stream or application has not ended, by the stream's number."""
        self._turns: ByUrgency[Http2Exchange] = ByUrgency()
        self._senders: ByUrgency[Http2Exchange] = ByUrgency()
        self._stalled: dict[int, Http2Exchange] = {}
        """Exchanges that have content to send and no room for it in the client's flow-control windows, by the stream's
        number.
        """
        self._unfinished: dict[int, Unfinished] = {}
        """Streams whose answer is complete and whose request is not, by the stream's number; the oldest is first."""
        self._to_report: list[Http2Exchange] = []
        """Exchanges whose whole answer is in `output`. When that has been sent, the observer is told that they have
        ended.
        """
        self._served = 0
        """Number of requests that were answered."""
        self.lost = self.ended = self.stopping = False
        self.stops_now = False
        """True once `stop` was called: the server stops, and has no successor to wait for, as after `drain` alone."""
        self.refused_until: float | None = None
        """After `stop`: until when requests whose application was not called may stay, in seconds on the clock of
        `deadline`. None before the order, and before `deadline` is called for the first time after it.
        """
        self._draining = False
        """True from `drain` until the last GOAWAY: the client was told that the connection will end, and may still open
        streams.
        """
        self._refusing = False
        """True once the last GOAWAY was sent: new streams are refused."""
        self._leaving = False
        """True if the client has sent GOAWAY or the end of its input, so that it opens no more streams."""
        self._closing = False
        """True if the connection is to be closed as soon as all output has been sent."""
        self._lingers = False
        """True if, at the end, only the sending side is shut down at first, and what the client still sends is
        discarded. Closing at once could destroy what the client was sent last.
        """
        self._discarded = 0
        self._control = Allowance(CONTROL_FRAMES, "frames without use")
        self._resets = Allowance(RESETS, "streams that were reset")
        self._pace: Pace | None = None
        self._sent = 0
        """Bytes of output that the socket has taken."""
        self._earned_at: float | None = None
        """When the client's allowances (`_control` for useless frames, `_resets` for resets of streams) were last
        raised for the time that had passed, in seconds on the clock of `deadline`; None before the first call.
        """
        self._announced_at: float | None = None
        """When `deadline` was first called after `drain`, in seconds on its clock. DRAINING_S later the client may open
        no more streams.
        """
        self._announcement_ends = False
        """True if the deadline that was returned last is the one of `_announced_at`: when it has passed, the last
        GOAWAY is sent.
        """
        self._late_until: float | None = None
        """If the deadline that was returned last is of a stream: the streams whose deadline is not later than this are
        late when it has passed, in seconds on its clock. None if it was the connection's own.
        """

    def go_on(self) -> Want:
        """Enter the next phase, by what the connection has to do (call applications, send output, or wait), and return
        what the connection wants in it. Implemented in `Http2Session`.
        """
        raise NotImplementedError

    def has_output(self, exchange: Http2Exchange) -> None:
        raise NotImplementedError

    def finished(self, exchange: Http2Exchange) -> None:
        raise NotImplementedError

    def has_turn(self, exchange: Http2Exchange) -> None:
        raise NotImplementedError

    def lose(self) -> Want:
        raise NotImplementedError

    def _enter(self, phase: Phase) -> Want:
        raise NotImplementedError

    def _refuse_from_now_on(self) -> None:
        raise NotImplementedError

    def _abort(self, exchange: Http2Exchange) -> None:
        raise NotImplementedError
