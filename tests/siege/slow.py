"""Clients that take their time: with heads, with bodies, with reading, or with saying anything at all."""

import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socket import SHUT_WR, socket
from time import monotonic

from siege.field import DEADLINE_S, Field, connect, reset
from support.client import Connection
from support.messages import render

CLIENTS = 300
TICK_S = 0.25
"""Between two bytes of a slow client: far more slowly than --min-rate allows."""

LATE_S = 6.0
"""After its deadline a slow client must be gone by then, on a machine that is busy."""


def slow_heads(field: Field) -> None:
    """300 clients send their heads byte by byte, beyond the deadline; each is answered 408 or cut."""
    drip(field, b"GET / HTTP/1.1\r\nHost: example.test\r\nX-Slow: ")


def slow_bodies(field: Field) -> None:
    """300 clients send their bodies byte by byte, beyond the deadline; each is answered 408 or cut."""
    drip(field, render("POST", "/upload", "Content-Length: 1000000"))


def drip(field: Field, beginning: bytes) -> None:
    with clients(field, field.count(CLIENTS)) as slow:
        for sock in slow:
            sock.sendall(beginning)
            sock.setblocking(False)
        left, last = set(slow), monotonic() + DEADLINE_S + LATE_S
        while left and monotonic() < last and not (field.takes_all and field.over):
            time.sleep(TICK_S)
            left -= {sock for sock in left if said_goodbye(field, sock)}
        field.did = f"{len(slow)} clients, {len(slow) - len(left)} cut"
        field.expect(field.takes_all or not left, f"{len(left)} of {len(slow)} slow clients were never cut")


def said_goodbye(field: Field, sock: socket) -> bool:
    """Send one more byte; True when the server has ended this connection."""
    try:
        sock.send(b"a")
        said = sock.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True
    field.expect(not said or b" 408 " in said[:20], f"a slow client was answered {said[:60]!r}")
    return not said


def slow_readers(field: Field) -> None:
    """300 clients do not read an answer of 5 MB, beyond the deadline; each is reset."""
    with clients(field, field.count(CLIENTS), receive_buffer=4096) as slow:
        poller = select.poll()
        for number, sock in enumerate(slow):
            sock.sendall(render("GET", "/files/big" if number % 4 == 0 else "/big"))
            poller.register(sock, 0)  # errors and the end of both directions are told in any case
        left, last = len(slow), monotonic() + DEADLINE_S + LATE_S + DEADLINE_S
        while left and monotonic() < last and not (field.takes_all and field.over):
            for descriptor, _ in poller.poll(100):
                poller.unregister(descriptor)
                left -= 1
        field.did = f"{len(slow)} clients, {len(slow) - left} cut"
        field.expect(field.takes_all or not left, f"{left} of {len(slow)} slow readers were never cut")


@contextmanager
def clients(field: Field, count: int, receive_buffer: int = 0) -> Iterator[list[socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect(field.address, "", receive_buffer)) for _ in range(count)]


SOURCES = 8
IDLE = 12_000


def idle(field: Field) -> None:
    """12,000 clients are served once and stay; half of them end by a reset, then all have gone."""
    request = render("GET", "/send?size=10&length=auto")
    idlers: list[socket] = []
    with ExitStack() as stack:
        for number in field.counted(IDLE, "idle clients"):
            sock = stack.enter_context(connect(field.address, f"127.0.0.{2 + number % SOURCES}"))
            sock.sendall(request)
            idlers.append(sock)
        unserved = sum(not sock.recv(65536).startswith(b"HTTP/1.1 200") for sock in idlers)
        field.expect(not unserved, f"{unserved} of {len(idlers)} clients were not served")
        time.sleep(0.5)  # the well-behaved are served meanwhile
        poller = select.poll()
        for sock in idlers:
            poller.register(sock, select.POLLIN)
        field.expect(not poller.poll(0), "the server has let idle clients go")
        for sock in idlers[::2]:
            reset(sock)


def half_closed(field: Field) -> None:
    """Clients that shut down their sending side: after a request they get its answer, within a head none."""
    whole, half = render("GET", "/send?size=100000&parts=3"), b"GET / HTTP/1.1\r\nHost: exam"
    for _ in field.counted(500, "clients"):
        with Connection(field.address) as first, Connection(field.address) as second:
            for client, data in ((first, whole), (second, half)):
                client.send(data)
                client.socket.shutdown(SHUT_WR)
            field.expect(len(first.read_response().body) == 100_000, "a half-closed client got another answer")
            said = second.read_to_end()
            field.expect(not said or said.startswith(b"HTTP/1.1 400 "), f"half a head was answered {said[:60]!r}")


PAUSE_S = 0.4


def paused_client(field: Field) -> None:
    """A client process that loads 5 MB up and down is stopped and continued again and again; nothing is lost."""
    host, port = field.address
    command = [sys.executable, str(Path(__file__).with_name("transfers.py")), host, str(port)]
    pauses = 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        try:
            while pauses < max(3, field.count(8)) and not (field.over and pauses) and client.poll() is None:
                time.sleep(0.2)
                client.send_signal(signal.SIGSTOP)
                time.sleep(PAUSE_S)
                client.send_signal(signal.SIGCONT)
                pauses += 1
            said, _ = client.communicate(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                client.kill()
    field.did = f"{pauses} pauses, {said.decode().strip()[-200:]}"
    field.expect(client.returncode == 0, f"the client that was paused says {said.decode()[-300:]!r}")
