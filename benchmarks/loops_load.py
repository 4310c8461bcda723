"""The other side of the loops' servers: plain sockets over epoll, one message under way on each connection."""

import errno
import select
import socket
import time
from collections.abc import Callable

Address = str | tuple[str, int]


def stream(address: Address) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.connect(address)
    if not isinstance(address, str):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def datagrams(address: Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(address)
    return sock


REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"


def answer_size(address: Address) -> int:
    """Bytes of the answer to REQUEST, which is as long every time."""
    with stream(address) as sock:
        sock.send(REQUEST)
        return len(sock.recv(65536))


class RoundTrips:
    """So many connections, each of which sends its message again when the whole answer of `size` bytes has come."""

    def __init__(
        self,
        connect: Callable[[Address], socket.socket],
        address: Address,
        connections: int,
        size: int,
        message: bytes | None = None,
    ):
        self._message = b"x" * size if message is None else message
        self._size = size
        self._sockets = {sock.fileno(): sock for sock in (connect(address) for _ in range(connections))}
        self._missing = dict.fromkeys(self._sockets, size)
        self._epoll = select.epoll()
        for fd, sock in self._sockets.items():
            self._epoll.register(fd, select.EPOLLIN)
            sock.send(self._message)

    def run(self, seconds: float) -> int:
        """Go on for so long; how many round trips were completed."""
        count, size = 0, self._size
        sockets, missing, message = self._sockets, self._missing, self._message
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for fd, _ in self._epoll.poll(1):
                left = missing[fd] - len(sockets[fd].recv(65536))
                if not left:
                    count += 1
                    left = size
                    sockets[fd].send(message)
                missing[fd] = left
        return count

    def close(self) -> None:
        self._epoll.close()
        for sock in self._sockets.values():
            sock.close()


class Visits:
    """Connect, ask, read the answer to its end: so many at a time."""

    def __init__(self, address: Address, at_a_time: int):
        self._address = address
        self._at_a_time = at_a_time

    def run(self, seconds: float) -> int:
        count = 0
        epoll, sockets = select.epoll(), dict[int, socket.socket]()
        for _ in range(self._at_a_time):
            self._begin(epoll, sockets)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for fd, _ in epoll.poll(1):
                if sockets[fd].recv(4096):
                    continue
                count += 1
                sockets.pop(fd).close()
                self._begin(epoll, sockets)
        for sock in sockets.values():
            sock.close()
        epoll.close()
        return count

    def _begin(self, epoll: select.epoll, sockets: dict[int, socket.socket]) -> None:
        sock = socket.socket()
        # The visitor's port is free again at once: tens of thousands a second would use them all up.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if sock.connect_ex(self._address) not in (0, errno.EINPROGRESS):
            raise ConnectionError(f"no connection to {self._address}")
        sock.send(b"x" * 64)
        sockets[sock.fileno()] = sock
        epoll.register(sock.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Nothing is left."""
