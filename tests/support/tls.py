"""What tests of TLS need: an authority and its certificates, a client, and a server that speaks it."""

import select
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Self

import trustme

from septet.net.certificates import Certificates
from support.client import Address, Connection
from support.server import Server
from support.waiting import PATIENCE_S

HOST = "localhost"


@dataclass(frozen=True)
class Files:
    """A certificate with its chain, its key, and both in one file."""

    certificate: Path
    key: Path
    both: Path

    @property
    def options(self) -> tuple[str, ...]:
        return ("--tls-certificate", str(self.certificate), "--tls-key", str(self.key))


class Authority:
    """A certificate authority for one test or one session, whose files lie in `directory`."""

    def __init__(self, directory: Path, days: int | None = None) -> None:
        """`days`: how long certificates are valid, as far as tests need to know it."""
        self.directory = directory
        now = datetime.now(UTC)
        self._validity = {"not_before": now, "not_after": now + timedelta(days=days)} if days else {}
        directory.mkdir(exist_ok=True)
        self.authority = trustme.CA()
        self.pem = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(self.pem)

    def issue(self, name: str, *names: str, **how: Any) -> Files:
        """A certificate for these names; `name` is also that of its files."""
        issued = self.authority.issue_cert(name, *names, **{**self._validity, **how})
        stem = self.directory / name.replace("*", "_").replace("@", "_")
        files = Files(*(stem.with_name(f"{stem.name}.{kind}.pem") for kind in ("cert", "key", "both")))
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        files.certificate.write_bytes(chain)
        files.key.write_bytes(issued.private_key_pem.bytes())
        files.both.write_bytes(issued.private_key_pem.bytes() + chain)
        return files

    @cached_property
    def server(self) -> Files:
        return self.issue(HOST, "127.0.0.1")

    def client_context(self, **attributes: Any) -> ssl.SSLContext:
        """A client's context that trusts this authority alone, with these attributes set."""
        context = ssl.create_default_context(cafile=self.pem)
        for name, value in attributes.items():
            setattr(context, name, value)
        return context

    def context_for_websockets(self) -> ssl.SSLContext:
        """A context for the sync client of the library `websockets`."""
        return self.client_context(sslsocket_class=TwoThreadsSocket)


class TwoThreadsSocket(ssl.SSLSocket):
    """A client's TLS socket that one thread may read while another writes, as the sync client of `websockets` does.

    OpenSSL's connection is for one thread at a time (openssl-threads(7)), and Python 3.11 takes no lock: about one
    WebSocket in a thousand stalled in its handshake, with any server.
    """

    def __new__(cls, *arguments: Any, **settings: Any) -> Self:
        new = super().__new__(cls, *arguments, **settings)
        new._in_use = Lock()
        return new

    def _at_once(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What the call returns. The lock is held while it runs, not while it waits for the other side."""
        while True:
            with self._in_use:
                self.settimeout(0)
                try:
                    return call(*arguments)
                except (ssl.SSLWantReadError, BlockingIOError):
                    waits_for = ([self], [])
                except ssl.SSLWantWriteError:
                    waits_for = ([], [self])
            select.select(*waits_for, [])

    def recv(self, size: int = 1024, flags: int = 0) -> bytes:
        return bytes(self._at_once(super().recv, size, flags))

    def sendall(self, data: Any, flags: int = 0) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._at_once(super().send, rest, flags) :]


class TlsConnection(Connection):
    """A connection over TLS. An end without close_notify counts as one by RST: not in order."""

    socket: ssl.SSLSocket

    def __init__(
        self,
        address: Address,
        context: ssl.SSLContext,
        name: str | None = HOST,
        timeout_s: float = PATIENCE_S,
        receive_buffer: int = 0,
        session: ssl.SSLSession | None = None,
    ) -> None:
        super().__init__(address, timeout_s, receive_buffer)
        self.plain = self.socket
        try:
            self.socket = context.wrap_socket(
                self.plain, server_hostname=name, suppress_ragged_eofs=False, session=session
            )
        except BaseException:
            self.plain.close()
            raise

    def has_data(self, within_s: float = 0.0) -> bool:
        """Not all that makes the socket readable is data: session tickets are none."""
        if self._buffer:
            return True
        timeout = self.socket.gettimeout()
        if not self.socket.pending() and not select.select([self.socket], [], [], within_s)[0]:
            return False
        self.socket.settimeout(0)
        try:
            return self._receive() or not self._buffer
        except ssl.SSLWantReadError:
            return False
        finally:
            self.socket.settimeout(timeout)

    def _receive(self) -> bool:
        try:
            return super()._receive()
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, BrokenPipeError) as error:
            self._reset = self._reset or not isinstance(error, ssl.SSLZeroReturnError)
            return False


class TlsServer(Server):
    """`septet serve` with the authority's certificate for localhost. `connect` speaks TLS."""

    def __init__(self, authority: Authority, *arguments: str, **settings: Any) -> None:
        super().__init__(*arguments, *authority.server.options, **settings)
        self._context = authority.client_context()

    def connect(self, receive_buffer: int = 0) -> TlsConnection:
        return TlsConnection(self.address, self._context, receive_buffer=receive_buffer)


def shake_hands(
    certificates: Certificates, context: ssl.SSLContext, name: str | None, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A client and the server's side of its connection, after a handshake in memory. Raises SSLError for either."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    server = certificates.wrap(to_server, to_client)
    waiting = [client, server]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    server.write(b"!")  # the client takes the tickets in when it reads
    assert client.read(1) == b"!"
    return client, server
