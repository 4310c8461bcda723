"""What an idle connection costs a server in memory: open many, let each be answered once, and look at the difference.

The generator's part is so small that blocking sockets do: connections are opened and used one after the other.
"""

import socket
import ssl
from typing import Any

from procfs import memory_kib
from servers import BlockFailed

# What a server needs for its first connections (code paths, arenas, pools) is not the price of a connection.
FIRST = 200
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 "
    b"Firefox/128.0\r\nAccept: text/html,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.7\r\nAccept-Encoding: gzip, br\r\n"
    b"Referer: http://127.0.0.1/guestbook\r\nConnection: keep-alive\r\nCookie: session=5f2b9c1e7a604d3f; theme=dark\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n"
    b"Sec-Fetch-Site: same-origin\r\n\r\n"
)


def measure_idle(pid: int, port: int, connections: int, answer: int, tls: bool = False) -> dict[str, Any]:
    """The growth of the server's memory by `connections` idle connections, in bytes, as a raw block.

    Raises:
        BlockFailed: a connection could not be opened or used.
    """
    clients: list[socket.socket] = []
    anyone = ssl.create_default_context() if tls else None
    if anyone is not None:
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    try:
        clients.extend(_used_connection(port, answer, anyone) for _ in range(FIRST))
        before = memory_kib(pid)
        clients.extend(_used_connection(port, answer, anyone) for _ in range(connections))
        after = memory_kib(pid)
        closed = sum(map(_is_closed, clients))
    except OSError as problem:
        raise BlockFailed(f"after {len(clients)} connections: {problem}") from problem
    finally:
        for client in clients:
            client.close()
    return {"connections": connections, "idle_bytes": (after - before) * 1024, "errors": {"closed": closed}}


def _used_connection(port: int, answer: int, tls: ssl.SSLContext | None) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    if tls is not None:
        client = tls.wrap_socket(client)
    client.sendall(REQUEST)
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < answer:
        data = client.recv(4096)
        if not data:
            raise ConnectionError("the server closed a kept connection")
        received += data
    return client


def _is_closed(client: socket.socket) -> bool:
    """Whether the server has let an idle connection go, which would make it cheap for the wrong reason."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
