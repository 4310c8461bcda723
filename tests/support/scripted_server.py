"""A server on a real socket that does to each connection what a test says, right or wrong."""

import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

BODY = b"hello, world\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n" + BODY
MESSAGES_KEPT = 1000
CLOSING_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n" + BODY


class Connection:
    """One accepted connection, in its own thread."""

    def __init__(self, sock: socket.socket, server: "ScriptedServer", number: int) -> None:
        self.socket = sock
        self.number = number
        self._server = server
        self._unread = b""

    def request(self) -> bytes:
        """The head of the next request, b"" when the client has closed. Its body is in the server's `messages`."""
        if not self._read_until(lambda: b"\r\n\r\n" in self._unread):
            return b""
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        wanted = int(length[1]) if length else 0
        if not self._read_until(lambda: len(self._unread) >= wanted):
            return b""
        body, self._unread = self._unread[:wanted], self._unread[wanted:]
        with self._server.lock:
            self._server.requests += 1
            self._server.last_head = head
            if len(self._server.messages) < MESSAGES_KEPT:
                self._server.messages.append((head, body))
        return head

    def _read_until(self, enough: Callable[[], bool]) -> bool:
        while not enough():
            data = self.socket.recv(65536)
            if not data:
                return False
            self._unread += data
        return True

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        """Close so that the client gets RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class ScriptedServer:
    """Runs `script` for each connection, which is closed when that returns."""

    def __init__(
        self, script: Callable[[Connection], None], backlog: int = 512, listener: socket.socket | None = None
    ) -> None:
        self._script = script
        self._listener = listener or socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.lock = threading.Lock()
        self.connections = 0
        self.requests = 0
        self.last_head = b""
        self.messages: list[tuple[bytes, bytes]] = []  # (head, body) of the first requests

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/path?query"

    def __enter__(self) -> "ScriptedServer":
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_listener()
        with self.lock:
            for sock in self._open:
                with suppress(OSError):  # the client was faster
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def close_listener(self) -> None:
        """Refuse connections from now on."""
        with suppress(OSError):  # was closed before
            self._listener.shutdown(socket.SHUT_RDWR)

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
