"""TLS under a user's connection, with the methods of a socket that `connections` uses.

OpenSSL works on memory (`ssl.MemoryBIO`), and epoll(7) on the socket below, as the rest of the generator expects. A
connection makes a full handshake, as a new client does; sessions are not resumed.
"""

from __future__ import annotations

import errno
import ssl
from typing import Any

from .plan import LoadError, Plan, split

RECEIVE_BYTES = 65536
RECORD_BYTES = 16384
RECORD_TYPES = range(20, 24)
"""First byte of a record of TLS, its type: change_cipher_spec, alert, handshake or application_data (RFC 8446 section
5.1).
"""


class AwaitsServer(BlockingIOError):
    """Raised if the server must first send its part of the handshake: wait until the socket is readable."""


class Dialer:
    """Puts TLS on the connections of a plan."""

    def __init__(self, plan: Plan) -> None:
        """Load the certificates of the authorities that the plan trusts. Raises LoadError if they cannot be used."""
        url, self._port = split(plan.url)
        self.url = plan.url
        self.name = url.hostname
        self._in_clear = "ws" if plan.websocket else "http"
        """The scheme of the same URL without TLS."""
        self._spoken = False
        """True once the server has sent a record of TLS."""
        try:
            self.context = ssl.create_default_context(cadata=plan.ca or None)
        except (ssl.SSLError, ValueError):
            raise LoadError("the certificates of authorities (--ca) are not in PEM") from None
        if plan.insecure:
            self.context.check_hostname = False
            self.context.verify_mode = ssl.CERT_NONE
        self.alpn = "h2" if plan.streams else "http/1.1"
        self.context.set_alpn_protocols([self.alpn])

    def over(self, sock: Any) -> TlsSocket:
        return TlsSocket(self, sock)

    def check_speaks(self, data: bytes) -> None:
        """Raise LoadError if the first bytes that the server ever sends in a handshake, `data`, are no record of TLS.
        Once it has sent one, other bytes are an error of their connection alone: a proxy may answer so for a while.
        """
        if not self._spoken and data[0] not in RECORD_TYPES:
            host = f"[{self.name}]" if ":" in str(self.name) else self.name
            raise LoadError(f"{host}:{self._port} speaks no TLS: try {self._in_clear}://")
        self._spoken = True

    def check_alpn(self, selected: str | None) -> None:
        """Raise LoadError if the plan is for HTTP/2, and the server has not selected it in the handshake (ALPN).
        `selected` is the protocol that the server has selected; None: none.
        """
        if self.alpn == "h2" and selected != "h2":
            raise LoadError(
                f"{self.url} does not speak HTTP/2: the server did not select h2 in the TLS handshake (ALPN)"
            )


class TlsSocket:
    """A socket that does not block, with TLS over it."""

    __slots__ = ("_dialer", "_incoming", "_open", "_outgoing", "_rest", "_socket", "_taken", "_tls")

    def __init__(self, dialer: Dialer, sock: Any) -> None:
        self._dialer = dialer
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = dialer.context.wrap_bio(self._incoming, self._outgoing, server_hostname=dialer.name)
        self._open = False
        self._rest = b""
        """Ciphertext that the socket had no room for."""
        self._taken = 0
        """Length of the data that was passed to `send` and is encrypted, but not wholly sent; 0: none."""

    def close(self) -> None:
        self._socket.close()

    def getsockname(self) -> Any:
        return self._socket.getsockname()

    def send(self, data: bytes) -> int:
        """Send all of `data`, encrypted, and return its length. Raises BlockingIOError while the socket has no room:
        then call again with the same data.
        """
        if not self._open:
            self._shake_hands()
        if not self._taken:
            self._tls.write(data)
            self._taken = len(data)
        self._flush()
        taken, self._taken = self._taken, 0
        return taken

    def _flush(self) -> None:
        rest = self._rest + self._outgoing.read()
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                self._rest = rest
                raise
        self._rest = b""

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                try:
                    data = self._socket.recv(RECEIVE_BYTES)
                except BlockingIOError:
                    raise AwaitsServer from None
                if not data:
                    raise ConnectionResetError(errno.ECONNRESET, "ended in the handshake") from None
                self._dialer.check_speaks(data)
                self._incoming.write(data)
            except ssl.SSLCertVerificationError as error:
                raise LoadError(
                    f"the certificate of {self._dialer.url} is not trusted: {error.verify_message}; --ca FILE names "
                    "its authority, and --insecure takes any"
                ) from None
            except ssl.SSLError as error:
                if "NO_APPLICATION_PROTOCOL" in str(error.reason):  # the alert of RFC 7301 section 3.2
                    self._dialer.check_alpn(None)
                raise OSError(errno.EPROTO, error.reason) from None
            else:
                self._dialer.check_alpn(self._tls.selected_alpn_protocol())
                self._open = True
                return

    def recv(self, size: int) -> bytes:
        """Return all plaintext that has come, b"" at the end. Raises BlockingIOError if none has come, even if messages
        of TLS itself have, such as session tickets.
        """
        data = self._socket.recv(size)
        if not data:
            return b""
        self._incoming.write(data)
        parts = []
        try:
            while part := self._tls.read(RECORD_BYTES):
                parts.append(part)
                if not self._incoming.pending:
                    break
            else:
                return b"".join(parts)  # close_notify
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise OSError(errno.EPROTO, error.reason) from None
        if not parts:
            raise BlockingIOError
        return parts[0] if len(parts) == 1 else b"".join(parts)
