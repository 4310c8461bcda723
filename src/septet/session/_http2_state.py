"""The attributes of an HTTP/2 session, and its phases. A base class of the parts of `session.http2.Http2Session`."""

from collections.abc import Callable
from typing import Any

from septet.exchange import Delivery, FileRegion, TlsInfo, Want
from septet.http2.budget import Allowance
from septet.http2.connection import Http2Connection
from septet.http2.priority import ByUrgency
from septet.protocol import EITHER, READ, RUN, TURN, Phase
from septet.rules import Rules
from septet.session._http2_exchange import Http2Exchange
from septet.session.phases import Pace

PREFACE = Phase("http2-preface", READ, lambda timeouts: timeouts.header, idle=True)
"""Phase: the client's first bytes have not all come."""
IDLE = Phase("http2-idle", READ, lambda timeouts: timeouts.keep_alive, idle=True)
"""Phase: no stream is open."""
HEAD = Phase("http2-head", READ, lambda timeouts: timeouts.header, interruptible=True)
"""Phase: a header block has begun and has not ended."""
OPEN = Phase("http2-open", READ, lambda timeouts: timeouts.write, paced=True, interruptible=True)
"""Phase: streams are open; applications run, or the client is expected to send or read something."""
DUE = Phase("http2-due", TURN, None)
"""Phase: an exchange has its turn, in a model that runs several at the same time."""
RUNNING = Phase("http2-running", RUN, None)
"""Phase: the application runs for one exchange, in a model that runs one at a time."""
OUTPUT = Phase("http2-output", EITHER, lambda timeouts: timeouts.write, paced=True)
"""Phase: output waits for the client."""

RESETS = 100
"""Number of streams that may be reset without an answered one, in addition to those that answered requests and time
permit. Go's server allows 4 for each stream that may be open, hyper 20.
"""

CONTROL_FRAMES = 1000
"""Number of useless frames that may come at once: PING, SETTINGS, WINDOW_UPDATE and others."""


class Http2State:
    """The attributes of a session."""

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
        *("_exchanges", "_file_of", "_late", "_leaving", "_lingers", "_pace", "_refusing", "_resets"),
        *("_scheme", "_senders", "_sent", "_served", "_stalled", "_to_report", "_turns", "_unfinished", "client"),
        *("codec", "delivery", "ended", "exchange", "file", "lost", "output", "peer", "phase", "rules"),
        *("server", "since", "stopping", "tls", "unread_ms"),
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
        """As in `session.http1.Session`."""
        self.unread_ms = unread_ms
        """Milliseconds since the client's last bytes came; None if not known."""
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
        """The exchange whose content `file` is."""
        self.exchange: Any = None
        self._current: Http2Exchange | None = None
        """The exchange that runs alone, where several cannot; None if there is none."""
        self._exchanges: dict[int, Http2Exchange] = {}
        """Those whose stream or application has not ended, by their stream."""
        self._turns: ByUrgency[Http2Exchange] = ByUrgency()
        self._senders: ByUrgency[Http2Exchange] = ByUrgency()
        self._stalled: dict[int, Http2Exchange] = {}
        """Exchanges with content for which a window, their own or the connection's, has no room."""
        self._unfinished: dict[int, int] = {}
        """Streams that are answered and whose requests have not ended: the bytes that have come since."""
        self._to_report: list[Http2Exchange] = []
        """Exchanges whose answer ends in the output."""
        self._served = 0
        """Requests that were answered."""
        self.lost = self.ended = self.stopping = False
        self._draining = False
        """The client was told that the end is near, and may still open streams."""
        self._refusing = False
        """The last GOAWAY was sent: new streams are refused."""
        self._leaving = False
        """The client opens no more streams."""
        self._closing = False
        """The connection ends when the output has gone."""
        self._lingers = False
        """Our side is shut down first, and what the client still sends is discarded: closing at once could destroy
        what it was sent last."""
        self._discarded = 0
        self._control = Allowance(CONTROL_FRAMES, "frames without use")
        self._resets = Allowance(RESETS, "streams that were reset")
        self._pace: Pace | None = None
        self._sent = 0
        """Bytes of output that have gone."""
        self._earned_at: float | None = None
        """When time has last given something back to `_control` and `_resets`."""
        self._announced_at: float | None = None
        """When the time for a client that was told of the end has begun."""
        self._announcement_ends = False
        """The deadline is the end of that time."""
        self._late: Http2Exchange | None = None
        """The exchange to which the deadline belongs; None: it is the connection's."""

    def go_on(self) -> Want:
        """Enter the phase that follows from what waits, and return its want. This method and those below are
        implemented by the parts of `Http2Session`.
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
