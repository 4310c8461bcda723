"""Three parsers of requests, asked the same question: what is in these bytes?

Ours, h11 (which hypercorn and uvicorn can use) and httptools (llhttp, as in uvicorn and Node.js), each as a server runs
it with the parser's own defaults, and each until it refuses, or the connection would not persist.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h11
import httptools

from support.feeding import Reader

Field = tuple[bytes, bytes]


@dataclass(frozen=True)
class Whole:
    """One request that was read to its end."""

    method: bytes
    target: bytes
    body: bytes
    fields: frozenset[Field]


@dataclass
class Reading:
    """What a parser made of some bytes. `refused` with its own words; None if it did not."""

    requests: list[Whole] = field(default_factory=list)
    refused: str | None = None

    def __str__(self) -> str:
        found = ", ".join(f"{each.method.decode()} with {len(each.body)} bytes" for each in self.requests)
        return f"[{found}]" + (f", then refuses: {self.refused}" if self.refused is not None else "")


def ours(data: bytes) -> Reading:
    reader = Reader().feed_all([data])
    reading = Reading(refused=str(reader.fault) if reader.fault else None)
    for seen in reader.seen:
        if not seen.complete:
            break
        request = seen.request
        fields = _comparable(request.fields)
        reading.requests.append(Whole(request.method.encode(), request.target, bytes(seen.body), fields))
        if not request.keep_alive:
            return Reading(reading.requests)
    return reading


def by_h11(data: bytes) -> Reading:
    connection = h11.Connection(h11.SERVER)
    reading = Reading()
    if data:  # nothing at all would be the end
        connection.receive_data(data)
    try:
        while (request := connection.next_event()) is not h11.NEED_DATA:
            assert isinstance(request, h11.Request)
            body = bytearray()
            while isinstance(event := connection.next_event(), h11.Data):
                body += event.data
            if not isinstance(event, h11.EndOfMessage):
                break
            fields = _comparable(tuple(request.headers))
            reading.requests.append(Whole(bytes(request.method), bytes(request.target), bytes(body), fields))
            connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                break
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        reading.refused = str(error)
    return reading


class _Listener:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.parser: Any = httptools.HttpRequestParser(self)
        self.reading = Reading()
        self.over = False

    def on_message_begin(self) -> None:
        self._target, self._body, self._fields = b"", b"", list[Field]()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if not self.over:
            fields = _comparable(tuple(self._fields))
            self.reading.requests.append(Whole(self.parser.get_method(), self._target, self._body, fields))
            self.over = not self.parser.should_keep_alive()


def by_httptools(data: bytes) -> Reading:
    listener = _Listener()
    try:
        listener.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        if not listener.over:
            listener.reading.refused = str(error)
    return listener.reading


OTHERS: dict[str, Callable[[bytes], Reading]] = {"h11": by_h11, "httptools": by_httptools}


def _comparable(fields: tuple[Field, ...]) -> frozenset[Field]:
    """Names in lower case; without what frames a body, which a parser may put into order, and without underscores."""
    lower = ((name.lower(), value.strip(b" \t")) for name, value in fields)
    framing = (b"content-length", b"transfer-encoding")
    return frozenset(each for each in lower if b"_" not in each[0] and each[0] not in framing)
