"""What an application says, and what two parsers that are not ours read of it from the wire."""

from dataclasses import dataclass, field

import h11
import httptools

from septet.exchange import Fields
from septet.http.head import HOP_BY_HOP, response_head
from support.carrier import Watched, write_all
from support.messages import render

CONTENTLESS = (204, 304)

OURS = HOP_BY_HOP | {b"content-length"}
"""Fields that the application may give and the connection decides."""


@dataclass(frozen=True)
class Said:
    """An answer as an application gives it, to a request of this method and version."""

    method: str
    version: str
    status: int
    reason: bytes
    fields: Fields
    parts: tuple[bytes, ...]


@dataclass
class Read:
    """An answer as a client gets it; `fields` without those that the connection decides."""

    status: int = 0
    reason: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    whole: bool = False


def check(said: Said) -> None:
    """Raise AssertionError unless what was said is refused, or is what both parsers read, and nothing else."""
    try:
        head = response_head(said.status, said.reason, said.fields)
    except ValueError:
        return
    session = Watched()
    session.receive(render(said.method, "/", version=said.version))
    session.respond(head, said.parts[0], len(said.parts) == 1)
    output = write_all(session)
    for position, part in enumerate(said.parts[1:], 2):
        session.push(part, position == len(said.parts))
        output += write_all(session)
    fields = output.lower().partition(b"\r\n\r\n")[0]
    assert fields.count(b"\r\ncontent-length:") + fields.count(b"\r\ntransfer-encoding:") <= 1, output
    expected = _expected(said, head.content_length)
    assert by_h11(said.method, output) == expected, output
    if said.method != "HEAD":  # of which this one cannot be told
        assert by_httptools(output) == expected, output
    if not expected.whole:
        assert not session.http.keep_alive, "the client is left waiting"


def _expected(said: Said, promised: int | None) -> Read:
    fields = [(name.lower(), value.strip(b" \t")) for name, value in said.fields if name.lower() not in OURS]
    if said.method == "HEAD" or said.status in CONTENTLESS:
        return Read(said.status, said.reason, fields, whole=True)
    body = b"".join(said.parts)[:promised]
    return Read(said.status, said.reason, fields, body, whole=promised is None or len(body) == promised)


def by_h11(method: str, output: bytes) -> Read:
    """The only answer in `output`, after which the connection has ended. Raises h11.RemoteProtocolError."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "example.test")]))
    client.send(h11.EndOfMessage())
    client.receive_data(output)
    client.receive_data(b"")
    head = client.next_event()
    assert isinstance(head, h11.Response), head
    read = Read(head.status_code, bytes(head.reason))
    read.fields = [(bytes(name), bytes(value)) for name, value in head.headers if name not in OURS]
    try:
        while isinstance(event := client.next_event(), h11.Data):
            read.body += event.data
    except h11.RemoteProtocolError as error:
        if "without sending complete message body" not in str(error):
            raise
        return read
    read.whole = isinstance(event, h11.EndOfMessage)
    assert not client.trailing_data[0], "bytes after the answer"
    return read


def by_httptools(output: bytes) -> Read:
    """The same. Raises httptools.HttpParserError."""
    listener = _Listener()
    parser = httptools.HttpResponseParser(listener)
    listener.parser = parser
    parser.feed_data(output)
    lower = [(name.lower(), value.strip(b" \t")) for name, value in listener.read.fields]
    delimited = any(name in (b"content-length", b"transfer-encoding") for name, _ in lower)
    listener.read.fields = [each for each in lower if each[0] not in OURS]
    listener.read.whole |= not delimited  # until the end of the connection
    return listener.read


class _Listener:
    """What httptools calls back."""

    parser: httptools.HttpResponseParser

    def __init__(self) -> None:
        self.read = Read()

    def on_message_begin(self) -> None:
        assert not self.read.whole, "a second answer"

    def on_status(self, reason: bytes) -> None:
        self.read.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.read.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.read.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.read.body += body

    def on_message_complete(self) -> None:
        self.read.whole = True
