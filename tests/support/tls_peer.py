"""A client that speaks TLS and the server's protocol, in memory: a test carries the bytes between them."""

import os
import ssl
from collections.abc import Callable

from septet.exchange import FileRegion, Want
from septet.http.head import response_head
from septet.net.certificates import Certificates
from septet.protocol import EITHER, WRITE
from septet.rules import Rules, Timeouts
from septet.session.http1 import Session
from septet.session.tls import Tls
from support.carrier import CLIENT, SERVER
from support.messages import render

GET = render("GET", "/")
TIMEOUTS = Timeouts(handshake=10, keep_alive=75, write=30, linger=2)


class Peer:
    """A client, and the server's protocol, between which this test carries the bytes."""

    def __init__(
        self,
        certificates: Certificates,
        context: ssl.SSLContext,
        rules: Rules | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        rules = rules or Rules(timeouts=TIMEOUTS)
        self.inner = Session(rules, CLIENT, SERVER, "https")
        self.server = Tls(self.inner, certificates.wrap, rules)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self._in, self._out, server_hostname="localhost", session=session)
        self.sent = b""
        """All that the client has sent."""

    def said(self) -> bytes:
        """What the client has to send now."""
        data = self._out.read()
        self.sent += data
        return data

    def deliver(self, most: int = 1 << 20) -> Want:
        """Carry what the server has to say to the client, in pieces of `most` bytes, until it wants to read or run."""
        server = self.server
        while (want := server.phase.want) in (WRITE, EITHER):
            if server.file is not None and not server.output:
                data = os.pread(server.file.descriptor, min(server.file.count, 65536), server.file.offset)
                server.read_file(data)
                continue
            data = bytes(server.output[:most])
            assert data, f"{server.phase.name} wants {want}, and there is nothing to send"
            self._in.write(data)
            server.wrote(len(data))
        return want

    def shake_hands(self, cut: Callable[[bytes], list[bytes]] = lambda data: [data]) -> "Peer":
        while True:
            try:
                self.client.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            for piece in filter(None, cut(self.said())):
                self.server.receive(piece)
                self.deliver(most=len(piece) if len(piece) < 10 else 1 << 20)
            if done:
                return self

    def ask(self, data: bytes = GET) -> Want:
        self.client.write(data)
        return self.server.receive(self.said())

    def read(self) -> bytes:
        """All plaintext that has come; ends with b"<end>" if close_notify has."""
        got = b""
        while True:
            try:
                data = self.client.read(65536)
            except ssl.SSLWantReadError:
                return got
            except ssl.SSLZeroReturnError:  # the client has sent close_notify before
                return got + b"<end>"
            if not data:
                return got + b"<end>"
            got += data

    def respond(self, body: bytes | FileRegion, *fields: tuple[bytes, bytes]) -> Want:
        size = body.count if isinstance(body, FileRegion) else len(body)
        head = response_head(200, b"OK", (*fields, (b"Content-Length", b"%d" % size)))
        return self.inner.respond(head, body, True)
