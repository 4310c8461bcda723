"""Clients that break off, talk nonsense, or ask for everything at once."""

from random import Random
from socket import SHUT_WR, socket
from threading import Thread

from siege.field import Field, connect, reset
from support.client import Connection
from support.messages import chunked, pattern, render

WANTED = (
    render("GET", "/echo"),
    render("GET", "/send?size=300000&parts=5"),
    render("GET", "/big"),
    render("GET", "/files/big"),
    render("POST", "/upload", body=pattern(20_000)),
    render("POST", "/upload", "Transfer-Encoding: chunked", body=chunked(pattern(20_000), 1000)),
)


WITHOUT_QUERY = tuple(request for request in WANTED if b"?" not in request.partition(b"\r\n")[0])


def resets(field: Field) -> None:
    """20,000 clients reset their connections at random points of head, body or answer."""
    for _ in field.counted(20_000, "resets"):
        data = field.random.choice(WANTED)
        sock = connect(field.address)
        send_what_it_takes(sock, data[: field.random.randint(0, len(data))])
        if field.random.random() < 0.05:
            read_a_little(sock, field.random)
        reset(sock)


def send_what_it_takes(sock: socket, data: bytes) -> None:
    """The server may have answered and ended already."""
    try:
        sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


def read_a_little(sock: socket, random: Random) -> None:
    sock.settimeout(0.02)
    try:
        sock.recv(random.randint(1, 100_000))
    except OSError:
        pass


def aborted_uploads(field: Field) -> None:
    """40,000 uploads are broken off by a reset after 1 to 70 KB of their bodies."""
    body = b"x" * 70_000
    for _ in field.counted(40_000, "uploads"):
        filler = "y" * field.random.randrange(2000)
        head = render("POST", "/upload", f"X-Filler: {filler}", "Content-Length: 1000000")
        sock = connect(field.address)
        send_what_it_takes(sock, head + body[: field.random.randrange(1000, len(body))])
        reset(sock)


def nonsense(field: Field) -> None:
    """10,000 connections of random bytes and of requests with random faults; each is answered in HTTP or cut."""
    for number in field.counted(10_000, "connections"):
        data = field.random.randbytes(field.random.randint(1, 3000)) if number % 3 == 0 else spoilt(field.random)
        with Connection(field.address) as client:
            client.send_if_possible(data)
            try:
                client.socket.shutdown(SHUT_WR)
            except OSError:
                pass
            said = client.read_to_end()
            field.expect(not said or said.startswith(b"HTTP/1.1 "), f"{data[:80]!r} was answered {said[:80]!r}")


def spoilt(random: Random) -> bytes:
    """A request in which some bytes are others, more, or missing."""
    data = bytearray(random.choice(WITHOUT_QUERY))
    for _ in range(random.randint(1, 5)):
        at = random.randrange(min(len(data), 120))
        removed = random.choice((0, 1, 1, 8))
        data[at : at + removed] = random.choice((b"", b"\r", b"\n", b"\0", b" ", b":", b"\xff", random.randbytes(1)))
    return bytes(data)


PIPELINED = 1000


def pipelining(field: Field) -> None:
    """1,000 requests on one connection before the first answer is read; all are answered, in order."""
    count = field.count(PIPELINED)
    for _ in field.counted(6, f"times {count} requests"):
        requests = [render("GET", f"/send?size={number % 300}&length=auto") for number in range(count)]
        with Connection(field.address) as client:
            sender = Thread(target=client.send_if_possible, args=(b"".join(requests),), daemon=True)
            sender.start()
            for number in range(count):
                body = client.read_response().body
                if body != pattern(number % 300):
                    field.expect(False, f"answer {number} of {count} has {len(body)} bytes instead of {number % 300}")
                    return
            sender.join()
