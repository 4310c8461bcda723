"""TLS (RFC 8446, RFC 5246) around another protocol: one client, without a socket or a clock.

`Tls` is a `ServerProtocol` whose bytes are those of another one, encrypted. OpenSSL reads and writes memory
(`ssl.MemoryBIO`), so this one file serves the blocking models, the loops, and io_uring's completions. The carrier is
the part of a process model that owns the socket; WRITE, EITHER and CLOSE are what a protocol asks of it (`protocol`):

    carrier --- receive(ciphertext) ---> Tls --- receive(plaintext) ---> inner protocol ---> exchange
    carrier <--- output: ciphertext ---- Tls <--- output, file: plaintext --- inner protocol

The inner protocol is HTTP/1.1 until the handshake is over; then the client's choice by ALPN (RFC 7301) may put HTTP/2
into its place. The exchange that an application answers is the inner protocol's own, and knows nothing of TLS. So what
it wants (WRITE) reaches the carrier without passing through here, and `output` encrypts when the carrier asks for it.
At the end it is the carrier that asks once more (`models._drive`): the inner protocol wants CLOSE, and this one has
close_notify to send first.

The life of a connection, by what `phase` says:

    handshake ──> (the inner protocol's phases) ──> closing ──> over
        │  ↑                                           ↑
        ↓  │                                           │
    reply ─┘      a failure: an alert is sent ─────────┘ ──> linger ──> over

Why not EITHER throughout? TLS must read while it writes only for renegotiation, which TLS 1.3 has not and
`net.tls_files` turns off. So WRITE stays WRITE, and a client that sends without reading fills no memory, as without
TLS. EITHER is what the inner protocol wants (a WebSocket), and what this one wants when it has something of its own to
send while the inner one reads: session tickets, or the answer to a KeyUpdate. Tickets wait for the first answer if that
comes at once, and go out with it in one send(2).

How the bytes of the inner output are counted: a slow client takes a record in pieces, and the inner protocol's deadline
depends on progress. So part of a record counts as the same part of its plaintext, and the last byte only when all of
the record has gone.

Truncation: the end of the TCP stream without close_notify may be an attacker's doing (RFC 8446 section 6.1). It counts
as a client that is lost, never as the end of what it sends. Our close_notify is sent whenever the connection ends in
order, and is left out when an answer is cut, so that the client sees that, too. The client's own is not waited for,
which RFC 9112 section 9.8 allows; where the inner protocol lingers, it is discarded like all else that comes.

Memory: OpenSSL's state is made when the first bytes of a client come, and freed at the end; OpenSSL gives back its
record buffers while a connection is idle (SSL_MODE_RELEASE_BUFFERS, which Python sets). A MemoryBIO keeps the memory of
the most that it ever held, so both are fed in pieces.
"""

import ssl
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from septet.exchange import ProtocolError, Want
from septet.protocol import CLOSE, EITHER, READ, WRITE, Phase
from septet.proxies.proxy_protocol import decode
from septet.rules import DRAINING_S, STOPPING_S, Rules
from septet.session._around import Inner
from septet.session._tls_info import info_of
from septet.session._tls_output import CLOSING, HANDSHAKE, PIECE_BYTES, REPLY, TlsOutput
from septet.session.phases import LINGER, LINGER_BYTES, OVER, PROXY_HEADER

Wrap = Callable[[ssl.MemoryBIO, ssl.MemoryBIO], ssl.SSLObject]
"""Makes the server's side of a TLS connection from two MemoryBIOs: received bytes, and bytes to be sent."""

RECORD_BYTES = 16384
"""Most bytes of plaintext in a record (RFC 8446 section 5.1)."""

OWN_BYTES = 16384
"""Most bytes of TLS's own messages that may wait to be sent; when there are more, the connection is closed at once.
Each KeyUpdate of the client (RFC 8446 section 4.6.3) must be answered by one, and a client could send them without
reading.
"""

_PLAIN_HTTP = ProtocolError(400, "this port speaks TLS, and the request came without: use https:// in place of http://")


class Tls(TlsOutput):
    """One client that speaks TLS. Implements `protocol.ServerProtocol`.

    Args:
        inner: the protocol that is encrypted, before it has received anything.
        wrap: makes OpenSSL's object for the connection.
        rules: what all sessions of the server share; the same as those of `inner`.
    """

    __slots__ = (
        "_discarded",
        "_incoming",
        "_input_ended",
        "_lingers",
        "_preface",
        "_since",
        "_wrap",
    )

    reads_files = True  # sendfile(2) would send the plaintext

    def __init__(self, inner: Inner, wrap: Wrap, rules: Rules) -> None:
        self._inner = inner
        self._wrap = wrap
        self._rules = rules
        self._tls: Any = None
        """OpenSSL's object for this connection: in the handshake an `ssl.SSLObject`, and then the object in C that this
        one wraps, which has `read` and `write` too, and takes a call in Python less for each. None before the first
        bytes, and once the inner protocol's bytes pass unchanged: after close_notify, or in the answer to a client that
        does not speak TLS.
        """
        self._incoming: Any = None
        self._outgoing: Any = None
        self._own: Phase | None = HANDSHAKE
        """The phase, while it is one of TLS's own (handshake, closing); None: the phase is the inner protocol's."""
        self._since: float | None = None
        """When the present phase of TLS's own began, in seconds on the clock of `deadline`; None until `deadline` is
        called.
        """
        self._preface = b""
        """Bytes received before it was clear whether the client speaks TLS."""
        self._record: bytes | memoryview = b""
        """Encrypted bytes that wait to be sent."""
        self._record_bytes = 0
        """Length of `_record` in bytes before any of it was sent."""
        self._plain_bytes = self._reported = 0
        """Bytes of the inner protocol's output or file that `_record` encrypts. `_reported`: how many of them the inner
        protocol was told are sent.
        """
        self._of_file = False
        """True if `_record` encrypts bytes of the inner protocol's `file`."""
        self._input_ended = False
        """True if the client sends no more: it has sent close_notify, or its TCP stream has ended without a
        close_notify.
        """
        self._notified = False
        """True if our close_notify was made: it is in `_record`, or was sent."""
        self._lingers = False
        """True if an alert was made and the connection must not be closed before the client has had time to read it."""
        self._discarded = 0

    # What the carrier reads

    @property
    def phase(self) -> Phase:
        if self._own is not None:
            return self._own
        phase = self._inner.phase
        if self._tls is None:
            return phase
        want = phase.want
        if want is READ:
            return _writing_too(phase) if self._record or self._outgoing.pending else phase
        if want is CLOSE and not self._inner.lost:
            return CLOSING
        return phase

    @property
    def since(self) -> float | None:
        return self._since if self._own is not None else self._inner.since

    @property
    def ended(self) -> bool:
        return self._input_ended or self._inner.ended

    # What comes in

    def receive(self, data: bytes) -> Want:
        if self._own is not None or self._tls is None:
            return self._receive_otherwise(data)
        if not data:
            return self._end_of_stream()
        if self._input_ended:
            return self.phase.want
        incoming, read, receive = self._incoming, self._tls.read, self._inner.receive
        want = READ
        try:
            for piece in (data,) if len(data) <= PIECE_BYTES else _pieces(data):
                incoming.write(piece)
                try:
                    while not self._input_ended:
                        plain = read(RECORD_BYTES)
                        self._input_ended = not plain  # close_notify
                        want = receive(plain)
                        if not incoming.pending:  # else there may be another record, or a part of one
                            break
                except ssl.SSLWantReadError:
                    pass
        except ssl.SSLError as error:
            return self._fail(error)
        if self._outgoing.pending > OWN_BYTES:
            return self.lose()
        return self.phase.want if want is READ or want is CLOSE else want

    def _receive_otherwise(self, data: bytes) -> Want:
        """Receive what has no part of the inner protocol in it: bytes of the handshake, those that come while TLS ends,
        and those of a client that does not speak TLS.
        """
        own = self._own
        if own is None or own is OVER:
            self._inner.receive(data)  # is only counted, and discarded
            return self.phase.want
        if own is LINGER:
            self._discarded += len(data)
            return self._end(OVER) if not data or self._discarded > LINGER_BYTES else READ
        if own is CLOSING:
            return WRITE
        return self._shake_hands(data)

    def _end_of_stream(self) -> Want:
        if self._input_ended:
            return self.phase.want
        self._input_ended = True
        self._rules.refused(f"the TLS connection of {self._inner.peer} ended without close_notify: it may be cut short")
        return self._inner.lose()

    # The handshake

    def _shake_hands(self, data: bytes) -> Want:
        if not data:
            return self.lose()
        if self._tls is None:
            data = self._preface + data
            if not self._begin(data):
                return self.phase.want
            data, self._preface = self._preface, b""
        assert self._tls is not None, "made by _begin"
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._own = REPLY if self._outgoing.pending else HANDSHAKE
            return self._own.want
        except ssl.SSLError as error:
            return self._fail(error)
        self._own = self._since = None
        if self._rules.http2 is not None:
            self._choose_version(self._tls.selected_alpn_protocol())
        self._inner.tls = info_of(self._tls)
        self._tls = self._tls._sslobj
        rest = self._incoming.read()  # usually the first request
        return self.receive(rest) if rest else self.phase.want

    def _choose_version(self, protocol: str | None) -> None:
        """Act on the client's choice by ALPN (`protocol`; None if it made none): for "h2", replace the inner protocol
        by HTTP/2; else refuse the client if the server speaks HTTP/2 only.
        """
        if protocol == "h2":
            assert self._rules.http2 is not None, "the caller has looked"
            drains = self._inner.stopping  # `stop` would have ended the handshake
            self._inner = self._rules.http2(self._inner)
            if drains:
                self._inner.drain()
        elif not self._rules.http1:
            self._inner.refuse(ProtocolError(505, "only HTTP/2 is spoken here, and the client has not chosen it"))

    def _begin(self, data: bytes) -> bool:
        """Look at `data`, all bytes of the connection so far: read the PROXY header if one is due, and make OpenSSL's
        object if TLS follows. Returns True if TLS follows; then the bytes for the handshake are in `_preface`.
        """
        inner = self._inner
        self._preface = b""
        if inner.phase is PROXY_HEADER:
            try:
                header = decode(data)
            except ProtocolError as fault:
                return self._answer_in_plain(fault)
            if header is not None:
                inner.introduce(header)
                data = data[header.length :]
        self._preface = data
        if inner.phase is PROXY_HEADER or not data:
            return False
        if data[0] in b"\r\n" or data[:1].isalpha():  # a record begins with 22 (RFC 8446 section 5.1)
            return self._answer_in_plain(_PLAIN_HTTP)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._wrap(self._incoming, self._outgoing)
        return True

    def _answer_in_plain(self, fault: ProtocolError) -> bool:
        """Send the answer to `fault` unencrypted, because the client does not speak TLS or its PROXY header is
        malformed. Returns False, which `_begin` then returns as well.
        """
        self._preface = b""
        self._own = None
        self._inner.refuse(fault)
        return False

    def _fail(self, error: ssl.SSLError) -> Want:
        """End the connection, because the client breaks the protocol or its certificate is refused: send OpenSSL's
        alert, if there is one.
        """
        peer = self._inner.peer or "an unknown client"
        why = error.reason or str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            why += f": {error.verify_message}"
        self._rules.refused(f"the TLS connection of {peer} failed: {why}")
        self._inner.lose()
        self._record = bytes(self._record) + self._outgoing.read()
        self._plain_bytes = self._reported = 0
        self._of_file = False
        if not self._record:
            return self._end(OVER)
        self._lingers = True
        return self._end(CLOSING)

    # Deadlines and the end

    def deadline(self, now: float) -> float | None:
        phase = self.phase
        if self._own is None and phase is not CLOSING:
            return self._inner.deadline(now)
        if phase.timeout is None:
            return None
        timeout = phase.timeout(self._rules.timeouts)
        if self._inner.stopping:
            if phase is not HANDSHAKE and phase is not REPLY:
                timeout = min(timeout, STOPPING_S)
            elif self._tls is None:  # after `drain`, for `stop` would have ended it
                timeout = min(timeout, DRAINING_S)
        if self._since is None:
            self._since = now
        return self._since + timeout

    def expire(self) -> Want:
        phase = self.phase
        if phase is LINGER and self._own is not None:
            return self._end(OVER)
        if self._own is not None or phase is CLOSING:
            return self.lose()
        self._inner.expire()
        return self.phase.want

    def stop(self) -> Want:
        self._inner.stop()
        own = self._own
        if own is HANDSHAKE or own is REPLY:
            return self.lose()
        if own is not None:
            self._since = None
        return self.phase.want

    def drain(self) -> Want:
        """Called when the server has a successor. A client that is within its handshake has the usual time to complete
        it, and then to send a request; one that has sent nothing has DRAINING_S, as an idle one.
        """
        self._inner.drain()
        if self._own is HANDSHAKE and self._tls is None:
            self._since = None
        return self.phase.want

    def lose(self) -> Want:
        self._tls = self._incoming = self._outgoing = None
        self._record = b""
        self._plain_bytes = self._reported = 0
        self._of_file = self._lingers = False
        self._inner.lose()
        return self._end(OVER)

    def half_close(self) -> bool:
        if self._lingers:
            self._lingers = False
            self._end(LINGER)
            return True
        if not self._inner.half_close():
            return False
        self._own = self._tls = None
        return True

    def _end(self, phase: Phase) -> Want:
        self._own = phase
        self._since = None
        return phase.want

    def close(self) -> None:
        self._tls = self._incoming = self._outgoing = None
        self._record = b""
        self._inner.close()


def _pieces(data: bytes) -> Iterator[bytes]:
    """Return `data` in pieces of PIECE_BYTES."""
    return (data[begin : begin + PIECE_BYTES] for begin in range(0, len(data), PIECE_BYTES))


@cache
def _writing_too(phase: Phase) -> Phase:
    """Return a phase like `phase`, in which the inner protocol reads, but with the want EITHER: TLS has messages of its
    own to send meanwhile. A client that does not take them, and has no request in flight, must not put off a stop.
    """
    return phase._replace(want=EITHER, idle=False, interruptible=phase.idle or phase.interruptible)
