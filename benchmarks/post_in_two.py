"""A load of posts whose head and body come in two segments, as browsers and many clients send them; wrk sends one.

    python3 post_in_two.py PORT CONNECTIONS SECONDS BODY_BYTES

Each connection sends a head, then a body when all others that are ready have sent theirs, and waits for the answer. The
last line of the output is that of wrk/report.lua. Slower than wrk, so compare the CPU time of servers only.
"""

import json
import selectors
import socket
import sys
import time

HEAD = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: */*\r\nAccept-Language: en-GB,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Referer: http://127.0.0.1/guestbook\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n"
    b"Cookie: session=5f2b9c1e7a604d3f8e1c0b6a9d4e7f21; theme=dark; consent=all\r\n"
    b"Sec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\nContent-Length: %d\r\n\r\n"
)


class Client:
    """One connection and the answer that it waits for."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.sent_at = 0.0

    def answered(self) -> bool:
        """Receive some of the answer. True when it is complete: every server names its length."""
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the server has closed a connection")
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(length):
            return False
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            raise ConnectionError(f"the answer was {head[:40]!r}")
        return True


def main(port: int, connections: int, seconds: float, body_bytes: int) -> None:
    selector = selectors.DefaultSelector()
    clients = [Client(port) for _ in range(connections)]
    for client in clients:
        selector.register(client.sock, selectors.EVENT_READ, client)
    head, body = HEAD % body_bytes, b"x" * body_bytes
    waits, received = [], 0
    begun = time.monotonic()
    ready = clients
    while (now := time.monotonic()) < begun + seconds:
        for client in ready:
            client.received, client.sent_at = b"", now
            client.sock.sendall(head)
        for client in ready:
            client.sock.sendall(body)
        ready = [key.data for key, _ in selector.select(1.0) if key.data.answered()]
        waits += [time.monotonic() - client.sent_at for client in ready]
        received += sum(len(client.received) for client in ready)
    waits = sorted(waits) or [0.0]
    print("RESULT", json.dumps(result(waits, received, seconds)))


def result(waits: list[float], received: int, seconds: float) -> dict[str, object]:
    at = [round(waits[place] * 1e6) for place in (len(waits) // 2, len(waits) * 99 // 100, -1)]
    latencies = dict(zip(("p50_us", "p99_us", "max_us"), at, strict=True))
    return {"requests": len(waits), "duration_us": round(seconds * 1e6), "bytes": received, **latencies, "errors": {}}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
