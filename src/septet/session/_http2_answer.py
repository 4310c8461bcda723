"""The answer of an HTTP/2 exchange: queues its head and content, and makes frames of them. A base class of
`_http2_exchange.Http2Exchange`, which creates the attributes.
"""

from collections import deque
from typing import Any

from septet.exchange import Fields, FileRegion, Part, ProtocolError, ResponseHead, Want, octets
from septet.http.head import interim_fields, reason_phrase, response_head, with_fields
from septet.http2.answers import Content, lowered, server_fields
from septet.http2.connection import INTERNAL, Http2Connection
from septet.session._http2_body import RequestBody

JOINED_BYTES = 65536
"""Bytes. Small parts of an answer that wait to be sent are joined into pieces of about this size."""


class Answering(RequestBody):
    """The part of an HTTP/2 exchange that answers the request: it queues the answer, and makes frames of it."""

    __slots__ = ()

    _content: Content
    _end_queued: bool
    _trailers: Fields
    answered_ns: int
    over: bool
    response_head: ResponseHead | None

    def reset(self, code: Any) -> None:
        raise NotImplementedError

    def respond(self, head: ResponseHead, body: Part, last: bool) -> Want:
        rules, content = self._session.rules, self._content
        if type(body) is not bytes and not isinstance(body, FileRegion):
            body = octets(body)
        if rules.more_fields is not None:
            head = with_fields(head, rules.more_fields(self))
        self.response_head = head
        if self.lost:
            return self._end(last)
        content.begin(head)
        length: Fields = ()
        if (
            head.content_length is None
            and last
            and isinstance(body, bytes)
            and (not content.forbidden or (body and head.status != 204))
        ):
            length = ((b"content-length", b"%d" % len(body)),)
        elif isinstance(body, FileRegion) and last and head.content_length is None and not content.forbidden:
            raise ValueError("a file that is all of an answer is sent with a Content-Length")
        part = content.allowed(body)
        ours = server_fields(rules.date_and_server(not head.has_date, not head.has_server))
        fields = ((b":status", b"%d" % head.status), *lowered(head.fields), *length, *ours)
        has_content = bool(part.count if isinstance(part, FileRegion) else part)
        ends = last and not has_content and not content.lacking
        self._session.codec.send_head(self.stream, fields, ends)
        self.status = head.status  # only now: an answer that raised above has not begun
        if ends:
            self._output_ended()
            return self._end(True)
        return self._queue(part, last)

    def push(self, body: Part, last: bool) -> Want:
        if type(body) is not bytes and not isinstance(body, FileRegion):
            body = octets(body)
        if self.lost:
            return self._end(last)
        return self._queue(self._content.allowed(body), last)

    def finish(self, trailers: Fields) -> Want:
        if self.lost:
            return self._end(True)
        self._trailers = () if self._content.forbidden else lowered(trailers)
        return self._queue(b"", True)

    def _queue(self, part: Part, last: bool) -> Want:
        """Queue a part of the content, and tell the session that the exchange has output, so that it is sent as the
        client's flow-control windows permit. Returns what the connection wants next. `last`: no other part follows.
        """
        queue = self.later
        if isinstance(part, FileRegion):
            if part.count:
                queue = self._begun_queue()
                queue.append(part)
        elif part:
            queue = self._begun_queue()
            tail = queue[-1] if queue else None
            if isinstance(tail, bytearray) and len(tail) + len(part) <= JOINED_BYTES:
                tail += part
            else:
                queue.append(bytearray(part) if queue and len(part) < JOINED_BYTES else part)
        if last:
            if self._content.lacking:
                self._content.complain_of_lack()
                self.reset(INTERNAL)
                return self._end(True)
            self._end_queued = True
        self._session.has_output(self)
        return self._end(last)

    def _begun_queue(self) -> "deque[bytes | bytearray | FileRegion]":
        if self.later is None:
            self.later = deque()
            self._pace = None
        return self.later

    def _end(self, last: bool) -> Want:
        """If `last` is True, note that the application has given its whole answer, so that the stream ends when all of
        it has been sent. Returns what the connection wants next.
        """
        if last and not self.answered:
            self.answered = True
            self.answered_ns = self._session.rules.clock()
            self.waits_for_body = False
            if self.over or self.lost:
                self._session.finished(self)
        return self._session.go_on()

    def inform(self, status: int, fields: Fields) -> Want:
        kept = lowered(interim_fields(fields))
        if not (self.lost or self.status):
            self._session.codec.send_head(self.stream, ((b":status", b"%d" % status), *kept), False)
        return self._session.go_on()

    def refused_websocket(self) -> None:
        """Called when the application answers a request for a WebSocket with an ordinary answer: count that."""
        traffic = self._session.rules.traffic
        if traffic is not None:
            traffic.websocket_refused()

    def upgrade(self, subprotocol: str | None, fields: Fields) -> Want:
        """Accept a WebSocket: answer with the header fields `fields`. `subprotocol`: the one that the application has
        chosen; None: none. From then on this object is a WebSocket; see `session._http2_websocket`.
        """
        opener = self._session.rules.websocket
        assert opener is not None, "applications are offered WebSockets where there are some"
        return opener.open_on_stream(self, subprotocol, fields)

    def server_stops(self) -> None:
        """Called when the server stops: a WebSocket ends; other exchanges are still answered."""

    def fail(self) -> Want:
        try:
            if self._fault is not None:
                return self.refuse(self._fault)
            return self.send_error(500, "the application failed")
        except MemoryError:
            return self._session.lose()

    def time_out(self) -> None:
        self._fault = ProtocolError(504, "the application took too long")

    def refuse(self, fault: ProtocolError) -> Want:
        """Answer with the status of `fault`. If an answer has begun already, the stream is reset instead."""
        self._fault = fault
        session = self._session
        session.rules.refused(
            f"a request from {session.peer or 'an unknown client'} is answered {fault.status}: {fault}"
        )
        return self.send_error(fault.status, str(fault))

    def send_error(self, status: int, text: str, *more: tuple[bytes, bytes]) -> Want:
        """Answer with a status and a text of the server's own, and the header fields `more`. If an answer has begun,
        the stream is reset instead.
        """
        if self.status or self.lost:
            if not self.lost:
                self._fault = self._fault or ProtocolError(status, text)
            self.reset(INTERNAL)
            return self._end(True)
        fields = ((b"Content-Type", b"text/plain; charset=utf-8"), *more)
        head = response_head(status, reason_phrase(status).encode("ascii"), fields)
        return self.respond(head, text.encode() + b"\n", True)

    @property
    def sends_end(self) -> bool:
        """True if all content has been sent and only the end of the stream (END_STREAM) has not."""
        return self._end_queued and self.later is None

    def send_some(self, room: int) -> int:
        """Make one frame of at most `room` bytes of the first piece in the queue. If nothing follows it, the frame also
        ends the stream. The piece must not be a part of a file. Returns the number of bytes in the frame.
        """
        codec, queue = self._session.codec, self.later
        if queue is None:
            self._send_end()
            return 0
        piece = queue[0]
        assert not isinstance(piece, FileRegion), "the session has files read by the carrier"
        if len(piece) <= room:
            queue.popleft()
            data: Any = bytes(piece)
        else:
            view: Any = memoryview(bytes(piece) if isinstance(piece, bytearray) else piece)
            data, queue[0] = view[:room], view[room:]
        self._sent_from(queue, codec, data)
        return len(data)

    def send_of_file(self, data: bytes) -> None:
        """Send bytes that were read from the part of a file that is first in the queue."""
        queue = self.later
        assert queue is not None, "there is a file"
        region = queue[0]
        assert isinstance(region, FileRegion), "there is a file"
        region.offset += len(data)
        region.count -= len(data)
        if not region.count:
            queue.popleft()
        self._sent_from(queue, self._session.codec, data)

    def _sent_from(
        self, queue: "deque[bytes | bytearray | FileRegion]", codec: Http2Connection, data: bytes | memoryview
    ) -> None:
        if not queue:
            self.later = self._pace = None
        last = self._end_queued and not queue and not self._trailers
        codec.send_content(self.stream, data, last)
        if last:
            self._output_ended()
        elif not queue:
            if self._end_queued:
                self._send_end()
            elif not self.answered:
                self._session.has_turn(self)

    def _send_end(self) -> None:
        """Send the frame that ends the stream: the trailers if there are any, else an empty DATA frame."""
        codec = self._session.codec
        if self._trailers:
            codec.send_head(self.stream, self._trailers, True)
        else:
            codec.send_content(self.stream, b"", True)
        self._output_ended()

    def _output_ended(self) -> None:
        """Called when frames were made of the whole answer. If the request has not ended, the session discards the rest
        of it for a time.
        """
        self._end_queued = False
        self.over = True
        if not self.input_ended:
            self._session.answered_early(self.stream, sum(map(len, self._pieces)))
            self.input_ended = True
        self._pieces.clear()
        if self.answered:
            self._session.finished(self)
