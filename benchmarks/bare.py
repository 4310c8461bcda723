"""The floor of the scenarios over TLS and WebSocket: the system calls, OpenSSL and a loop, in Python without a server.

    python3 bare.py PORT [CERTIFICATE KEY]

Nothing is parsed and no application is run: each piece that a client sends counts as one whole request or message, is
decrypted if there is a certificate, and is answered at once, a frame of WebSocket by the same text. So what a server
takes beyond this is HTTP, the application's interface, limits, deadlines, and the loop that other clients need.
"""

import base64
import hashlib
import re
import select
import socket
import ssl
import sys

from websockets.speedups import apply_mask

BODY = b"Hello, world"
HELLO = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n"
    b"Date: Sun, 29 Nov 2026 12:00:00 GMT\r\nServer: bare\r\n\r\n" + BODY
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
RECORD_BYTES = 16384


def answer(data: bytes) -> bytes:
    """The answer to a request, to one for a WebSocket, or to a short masked text frame (RFC 6455 section 5.2)."""
    if data[0] == 0x81:
        text = str(apply_mask(data[6:], data[2:6]), "utf-8").encode()
        return bytes((0x81, len(text))) + text
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", data)
    return SWITCH % base64.b64encode(hashlib.sha1(key[1] + GUID).digest()) if key else HELLO


class Tls:
    """One client's side of TLS: bytes in, bytes out, by the calls that it cannot be done without."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.received, self.to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.connection = context.wrap_bio(self.received, self.to_send, server_side=True)
        self.shaken = False

    def turn(self, data: bytes) -> bytes:
        self.received.write(data)
        try:
            if not self.shaken:
                self.connection.do_handshake()
                self.shaken = True
            if self.received.pending:
                self.connection.write(answer(self.connection.read(RECORD_BYTES)))
        except ssl.SSLWantReadError:
            pass
        return self.to_send.read()


def main() -> None:
    context = None
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 1
        context.load_cert_chain(*sys.argv[2:])
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    clients = {}
    buffer = memoryview(bytearray(65536))
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                client, _ = listener.accept()
                client.setblocking(False)
                clients[client.fileno()] = client, Tls(context).turn if context else answer
                epoll.register(client, select.EPOLLIN)
                continue
            client, turn = clients[fd]
            try:
                if count := client.recv_into(buffer):
                    client.send(turn(bytes(buffer[:count])))
                    continue
            except (OSError, ValueError):  # reset, or not what it speaks
                pass
            del clients[fd]
            client.close()


if __name__ == "__main__":
    main()
