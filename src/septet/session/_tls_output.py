"""The output of a TLS connection: the inner protocol's output and files, encrypted in records, and TLS's own messages.

A base class of `session.tls.Tls`, which creates the attributes. The docstring of `session.tls` says how the bytes that
were sent are counted.
"""

import ssl
from typing import Any

from septet.exchange import FileRegion, Want
from septet.protocol import CLOSE, READ, WRITE, Phase
from septet.rules import Rules
from septet.session._around import Around
from septet.session.phases import FILE_CHANGED, OVER

PIECE_BYTES = 8192
"""Bytes that are written to a MemoryBIO (OpenSSL's buffer) at a time. For as long as the connection lasts, a MemoryBIO
keeps memory for a third more than the most that was written to it.
"""

SEND_BYTES = 65536
"""Most bytes of plaintext that are encrypted for one send(2)."""

HANDSHAKE = Phase("handshake", READ, lambda timeouts: timeouts.handshake, idle=True)
"""Phase: the client must send its part of the handshake; the deadline runs from the beginning of the connection."""
REPLY = Phase("handshake reply", WRITE, lambda timeouts: timeouts.handshake)
"""Phase: our part of the handshake waits for the client to read it."""
CLOSING = Phase("closing", WRITE, lambda timeouts: timeouts.linger)
"""Phase: close_notify or an alert waits for the client to read it."""


class TlsOutput(Around):
    """The encrypted bytes that wait to be sent, and how many bytes of the inner protocol's output are in them."""

    __slots__ = (
        "_notified",
        "_of_file",
        "_outgoing",
        "_own",
        "_plain_bytes",
        "_record",
        "_record_bytes",
        "_reported",
        "_rules",
        "_tls",
    )

    _rules: Rules

    _tls: Any
    _outgoing: Any
    _own: Phase | None
    _record: bytes | memoryview
    _record_bytes: int
    _plain_bytes: int
    _reported: int
    _of_file: bool
    _notified: bool

    @property
    def phase(self) -> Phase:
        raise NotImplementedError

    def lose(self) -> Want:
        raise NotImplementedError

    def _fail(self, error: ssl.SSLError) -> Want:
        raise NotImplementedError

    def _end(self, phase: Phase) -> Want:
        raise NotImplementedError

    @property
    def output(self) -> bytes | memoryview:
        if self._record:
            return self._record
        if self._own is not None:
            if self._outgoing is not None:
                self._record = self._outgoing.read()
            return self._record
        plain = self._inner.output
        if self._tls is None:
            self._record = plain
            self._record_bytes = self._plain_bytes = len(plain)
            self._reported = 0
        elif plain:
            self._encrypt(plain)
        else:
            if self._inner.phase.want is CLOSE and not self._inner.lost and not self._notified:
                self._notify()
            self._record = self._outgoing.read()
        return self._record

    @property
    def file(self) -> FileRegion | None:
        return None if self._of_file else self._inner.file

    def _encrypt(self, plain: bytes | memoryview) -> None:
        """Encrypt the beginning of `plain`, and append it to the output after TLS's own messages."""
        write, outgoing = self._tls.write, self._outgoing
        try:
            if len(plain) <= PIECE_BYTES:
                write(plain)
                if self._inner.ends():
                    self._notify()  # close_notify goes out with the end of the answer
                record = outgoing.read()
            else:
                plain = memoryview(plain)[:SEND_BYTES]
                records = []
                for begin in range(0, len(plain), PIECE_BYTES):
                    write(plain[begin : begin + PIECE_BYTES])
                    records.append(outgoing.read())
                record = b"".join(records)
        except ssl.SSLError as error:  # the client has sent an alert
            self._fail(error)
            return
        self._record = record
        self._record_bytes = len(record)
        self._plain_bytes = len(plain)
        self._reported = 0

    def _notify(self) -> None:
        """Have OpenSSL make our close_notify, which goes to the end of the output."""
        self._notified = True
        try:
            self._tls.shutdown()
        except ssl.SSLError:  # the client's has not come, which is not waited for
            pass

    def wrote(self, count: int) -> Want:
        if self._inner.lost and self._own is None:  # an exchange has cut the connection
            return self.lose()
        if count < len(self._record):
            self._record = memoryview(self._record)[count:]
            return self._wrote_some() if self._plain_bytes else self.phase.want
        self._record = b""
        if self._plain_bytes:
            left = self._plain_bytes - self._reported
            self._plain_bytes = self._reported = 0
            self._of_file = False
            want = self._inner.wrote(left)
            if self._notified:
                return self._end(OVER) if want is CLOSE else self.lose()
            if want is READ and self._outgoing is not None and not self._outgoing.pending:
                return READ
            return self.phase.want if want is CLOSE or want is READ else want
        if self._own is REPLY:
            self._own = HANDSHAKE
        elif self._notified or self._own is CLOSING:
            self._end(OVER)
        return self.phase.want

    def _wrote_some(self) -> Want:
        """Called when a part of the encrypted output was sent: report the same fraction of its plaintext to the inner
        protocol as sent. Returns what the connection wants next.
        """
        gone = self._record_bytes - len(self._record)
        progress = self._plain_bytes * gone // self._record_bytes - self._reported
        if progress:
            self._reported += progress
            self._inner.wrote(progress)
        return self.phase.want

    def read_file(self, data: bytes) -> Want:
        if self._inner.reads_files:  # it makes frames of them, which are its output
            return self._inner.read_file(data)
        if not data:
            target = self._inner.exchange.request.target.decode("ascii")
            self._rules.complain(f"{FILE_CHANGED % target}; the connection is cut")
            return self.lose()
        self._encrypt(data)
        self._of_file = bool(self._plain_bytes)
        return self.phase.want
