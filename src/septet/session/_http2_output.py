"""The output of an HTTP/2 connection: chooses whose content is sent next, and counts what the socket has taken. A base
class of `session.http2.Http2Session`.
"""

from septet.exchange import FileRegion, Want
from septet.http2.connection import CANCEL
from septet.session._http2_exchange import Http2Exchange
from septet.session._http2_input import EARNED_BY_CONTENT
from septet.session._http2_state import Http2State

SEND_BYTES = 65536
"""Number of bytes of content for which frames are made at a time. The next frames are made only when all earlier output
has been sent, so no stream waits long for the answer of another one.
"""

FRAME_BYTES = 16384
"""Most bytes of one exchange's content that are sent before it is the turn of the next exchange; SEND_BYTES for a part
of a file.
"""

OUTPUT_BYTES = 1 << 20
"""Number of bytes that may wait to be sent; when there are more, the connection is closed at once. Content makes up
only about SEND_BYTES of them; the rest are answers to the control frames of a client that does not read them.
"""


class Http2Output(Http2State):
    """The part of an HTTP/2 session that chooses what is sent to the client, and makes frames of it."""

    __slots__ = ()

    def has_output(self, exchange: Http2Exchange) -> None:
        if not exchange.queued:
            exchange.queued = True
            self._senders.add(exchange.urgency, exchange)

    def _has_output(self) -> bool:
        if not self.output and self.file is None:
            self._make_frames()
            self.output = self.codec.take_output()
        elif len(self.output) < OUTPUT_BYTES:
            more = self.codec.take_output()
            if more:  # without a call, such as one of `bytes`, in which an exception could come that loses `more`
                self.output = b"" + self.output + more
        else:
            self.lose()
            return False
        return bool(self.output) or self.file is not None

    def _make_frames(self) -> None:
        """Make frames of what exchanges have queued, until there are SEND_BYTES of content; or set `file`, so that the
        model reads a part of a file for the next frame.
        """
        senders, codec, made = self._senders, self.codec, 0
        while len(senders) and made < SEND_BYTES:
            exchange = senders.pop()
            queue = exchange.later
            if exchange.over or (queue is None and not exchange.sends_end):
                exchange.queued = False
                continue
            room = codec.window(exchange.stream) if queue is not None else 1
            if room <= 0:
                if self.ended:  # no window opens any more
                    exchange.queued = False
                    exchange.reset(CANCEL)
                else:
                    self._stalled[exchange.stream] = exchange
                continue
            if queue is not None and isinstance(queue[0], FileRegion):
                self._offer(exchange, queue[0], min(room, SEND_BYTES))
                return
            made += exchange.send_some(min(room, FRAME_BYTES))
            self._queue_again(exchange)

    def _queue_again(self, exchange: Http2Exchange) -> None:
        self._control.earn(EARNED_BY_CONTENT)
        if exchange.over or (exchange.later is None and not exchange.sends_end):
            exchange.queued = False
        else:
            self._senders.add(exchange.urgency, exchange)

    def _offer(self, exchange: Http2Exchange, region: FileRegion, room: int) -> None:
        """Set `file` to at most `room` bytes of `region`, the file that the exchange sends next, so that the model
        reads them.
        """
        count = min(room, region.count)
        self.file = FileRegion(region.descriptor, region.offset, count, region.version, region.owner)
        self._file_of = exchange

    def read_file(self, data: bytes) -> Want:
        exchange, self._file_of, self.file = self._file_of, None, None
        assert exchange is not None, "a file was offered"
        if exchange.over:
            exchange.queued = False
        elif not data:
            exchange.cut_short()
            exchange.queued = False
        else:
            exchange.send_of_file(data)
            self._queue_again(exchange)
        return self.go_on()

    def wrote(self, count: int) -> Want:
        self._sent += count
        output = self.output
        if count < len(output):
            self.output = memoryview(output)[count:]
            return self.phase.want
        self.output = b""
        if self._to_report:
            self._report()
        return self.go_on()

    def _report(self) -> None:
        observer = self.rules.observer
        if observer:
            for exchange in self._to_report:
                observer.ended(exchange)
        self._to_report.clear()
