"""A server on a real socket that does to each connection what a test says, right or wrong."""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

BODY = b"hello, world\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n" + BODY
CLOSING_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n" + BODY


class Connection:
    """One accepted connection, in its own thread."""

    def __init__(self, sock: socket.socket, server: "ScriptedServer", number: int) -> None:
        self.socket = sock
        self.number = number
        self._server = server
        self._unread = b""

    def request(self) -> bytes:
        """The head of the next request, b"" when the client has closed."""
        while b"\r\n\r\n" not in self._unread:
            data = self.socket.recv(65536)
            if not data:
                return b""
            self._unread += data
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        with self._server.lock:
            self._server.requests += 1
            self._server.last_head = head
        return head

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        """Close so that the client gets RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class ScriptedServer:
    """Runs `script` for each connection, which is closed when that returns."""

    def __init__(self, script: Callable[[Connection], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.lock = threading.Lock()
        self.connections = 0
        self.requests = 0
        self.last_head = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/path?query"

    def __enter__(self) -> "ScriptedServer":
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        with self.lock:
            for sock in self._open:
                with suppress(OSError):  # the client was faster
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # shut down
            with self.lock:
                self.connections += 1
                self._open.add(sock)
            self._start(self._serve, sock, self.connections)

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            self._script(Connection(sock, self, number))
        except OSError:
            pass  # the client has gone
        finally:
            with self.lock:
                self._open.discard(sock)
            sock.close()


def keep_answering(connection: Connection) -> None:
    """The well-behaved script: answer until the client closes, or once when it asks for that."""
    while head := connection.request():
        if b"HTTP/1.0" in head or b"Connection: close" in head:
            connection.send(CLOSING_ANSWER)
            return
        connection.send(ANSWER)


def answering_status(status: int) -> Callable[[Connection], None]:
    """A script that gives this status to every request."""

    def script(connection: Connection) -> None:
        while connection.request():
            connection.send(b"HTTP/1.1 %d Status\r\nContent-Length: 0\r\n\r\n" % status)

    return script
