"""Making a call of the server fail, once, while a client is served: what a test needs beside `septet_with_faults`.

A `FaultyServer` is told which call is to fail, and how; then a visit is paid to it, which must end in a right and whole
answer, in an error's answer, or with the connection closed. Afterwards the server must be as it was.
"""

import errno
import os
import struct
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from support.client import Connection, Truncated
from support.messages import chunked, pattern, render
from support.processes import tree
from support.server import Server
from support.waiting import becomes_true, wait_until

SCRIPT = Path(__file__).parent / "septet_with_faults.py"

MODE, SITE, SKIP, KIND, FIRED, ROUND, NAME = range(7)
OFF, RECORD, FAIL = range(3)
MEMORY = 0
"""The kind of a MemoryError; of an OSError it is the number."""

#: What each system call may say, of the functions by which it is called; from their man pages.
ERRORS: dict[str, tuple[int, ...]] = {
    "recv": (errno.ENOMEM, errno.ECONNRESET, errno.EIO),
    "recv_into": (errno.ENOMEM, errno.ECONNRESET, errno.EIO),
    "send": (errno.ENOMEM, errno.ENOBUFS, errno.EPIPE),
    "sendfile": (errno.ENOMEM, errno.EIO, errno.EPIPE),
    "accept": (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED),
    "_accept": (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED),
    "shutdown": (errno.ENOTCONN, errno.ENOBUFS),
    "setsockopt": (errno.ENOMEM, errno.ENOBUFS),
    "getsockname": (errno.ENOBUFS, errno.ENOTCONN),
    "getsockopt": (errno.ENOMEM,),
    "read": (errno.EIO, errno.ENOMEM),
    "pread": (errno.EIO, errno.ENOMEM),
    "pwrite": (errno.EIO, errno.ENOSPC),
    "write": (errno.EIO, errno.ENOSPC),
    "open": (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO),
    "dup": (errno.EMFILE,),
    "fstat": (errno.ENOMEM, errno.EIO),
    "stat": (errno.ENOMEM, errno.EIO),
    "eventfd": (errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    "register": (errno.ENOMEM, errno.ENOSPC),
    "modify": (errno.ENOMEM,),
    "SpooledTemporaryFile": (errno.EMFILE, errno.ENOSPC),
    "TemporaryFile": (errno.EMFILE, errno.ENOSPC),
    "_TemporaryFile": (errno.EMFILE, errno.ENOSPC),
    "epoll": (errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    "mmap": (errno.ENOMEM, errno.EMFILE),
    "fork": (errno.EAGAIN, errno.ENOMEM),
}

#: Functions in C that allocate nothing, and so never lack memory.
WITHOUT_MEMORY = {
    *("len", "iter", "isinstance", "hasattr", "getattr", "get", "pop", "popleft", "discard", "clear", "cancelled"),
    *("acquire", "release", "locked", "current_thread", "get_ident", "close", "fileno", "setblocking", "remove"),
    *("unregister", "callable", "eventfd_write", "_leave_task", "lock", "run", "detach"),
}

#: Calls of our own functions, which could lack memory for their frame alone, at the few places where nothing can be
#: done about it: between the kernel's word and the object that owns the descriptor, and the loop's outermost step.
EXEMPT = frozenset(
    [
        ("pollers/ring.py", "partial"),
        ("models/io_uring.py", "RingReactor._adopt"),
        ("models/io_uring.py", "socket"),
        ("net/listener.py", "socket"),
        ("processes/threads.py", "_serve"),
        ("models/_watched.py", "ClientConnection.end"),
        ("models/_watched.py", "RingConnection.end"),
        ("models/_client_connection.py", "release"),
        ("models/_blocking.py", "release"),
        ("models/io_uring.py", "release"),
        ("models/io_uring.py", "RingConnection.close_when_idle"),
        ("models/_leaders.py", "Leaders._hand_to_follower"),
        ("models/forking.py", "serve"),
        ("apps/_channel.py", "WatchedConnection.drive"),
        ("apps/_channel.py", "Http1Exchange.fail"),
        ("apps/_channel.py", "SharedExchange.fail"),
        ("apps/_channel.py", "SharedExchange.drive"),
        ("models/_asgi_in_thread.py", "SharedExchange.drive"),
        ("models/_shared_exchange.py", "Waker.wake"),
        ("models/_asgi_in_thread.py", "partial"),
        ("models/_leaders.py", "range"),
        ("models/_leaders.py", "Schedule._run_once"),
        ("models/_leaders.py", "ClientConnection.answer"),
    ]
)


@dataclass(frozen=True)
class Site:
    """A call in the source; `name` is of what it calls."""

    number: int
    name: str
    place: str
    in_c: bool

    def kinds(self) -> tuple[int, ...]:
        name = self.name.rpartition(".")[2]
        exempt = (self.in_c and name in WITHOUT_MEMORY) or (self.place.partition(":")[0], self.name) in EXEMPT
        memory = () if exempt else (MEMORY,)
        return (*memory, *(ERRORS.get(name, ()) if self.in_c or name.endswith("TemporaryFile") else ()))


class FaultyServer:
    """A server of `ARGUMENTS`, whose calls can be made to fail. A context manager like `Server`."""

    def __init__(self, *arguments: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="septet-faults-")
        self._state = Path(self._directory.name) / "state"
        self._log = Path(self._directory.name) / "log"
        self._state.write_bytes(bytes(28))
        self.server = Server(*arguments, environment={"FAULTS_DIRECTORY": self._directory.name})
        self.server.command[1:3] = [str(SCRIPT)]
        self._round = 0

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._state, os.O_RDWR)
        self.server.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.server.__exit__(kind, error, at)
        finally:
            os.close(self._descriptor)
            self._directory.cleanup()

    def _set(self, word: int, value: int) -> None:
        os.pwrite(self._descriptor, struct.pack("I", value), 4 * word)

    def _get(self, word: int) -> int:
        return int(struct.unpack("I", os.pread(self._descriptor, 4, 4 * word))[0])

    def record(self, visit: Callable[[], object]) -> list[Site]:
        """The calls that are made during a visit, in their order."""
        self._round += 1
        self._set(ROUND, self._round)
        self._set(MODE, RECORD)
        try:
            visit()
        finally:
            self._set(MODE, OFF)
        found: dict[int, Site] = {}
        for line in self._log.read_text().splitlines():
            round_, number, in_c, name, place = line.split(" ")
            if int(round_) == self._round:
                found.setdefault(int(number), Site(int(number), name, place, in_c == "1"))
        return list(found.values())

    def arm(self, site: Site, kind: int, skip: int = 0) -> None:
        """From now on the call at this place fails, once, after it has been made `skip` times."""
        self._set(MODE, OFF)
        self._set(FIRED, 0)
        name = zlib.crc32(site.name.encode())
        for word, value in ((SITE, site.number), (NAME, name), (SKIP, skip), (KIND, kind)):
            self._set(word, value)
        self._set(MODE, FAIL)

    def disarm(self) -> bool:
        """Whether it has failed."""
        self._set(MODE, OFF)
        return self._get(FIRED) > 0


def finish(connection: Connection) -> None:
    """The server has nothing more to say."""
    connection.end_sending()
    connection.assert_closed()


# Visits. Each raises AssertionError for what is neither right nor an end.

Visit = Callable[[Connection, str], None]


def check(connection: Connection, token: str, body: bytes = b"") -> bool:
    """Read the answer to an echoed request; whether the connection goes on."""
    response = connection.read_response()
    if response.status == 200:
        assert f'"{token}"'.encode() in response.body, f"another's answer: {response.body[:300]!r}"
        if body:
            assert body in response.body, "the body was changed"
    else:
        assert response.status in (400, 408, 500, 503), response.status
    return not response.closes


def kept_alive(connection: Connection, token: str) -> None:
    for number in range(3):
        connection.send(render("GET", f"/?{token}{number}"))
        if not check(connection, f"{token}{number}"):
            break
    else:
        connection.send(render("GET", f"/?{token}", "Connection: close"))
        check(connection, token)
    finish(connection)


def pipelined(connection: Connection, token: str) -> None:
    connection.send(b"".join(render("GET", f"/?{token}{number}") for number in range(20)))
    for number in range(20):
        if not check(connection, f"{token}{number}"):
            return
    finish(connection)


def upload(connection: Connection, token: str) -> None:
    body = b"x" * 1_500_000
    connection.send_if_possible(render("POST", f"/?{token}", body=body))
    if check(connection, token, body):
        connection.send(render("GET", f"/?{token}2", "Connection: close"))
        check(connection, f"{token}2")
    finish(connection)


def upload_in_chunks(connection: Connection, token: str) -> None:
    body = b"y" * 5000
    connection.send(render("POST", f"/?{token}", "Transfer-Encoding: chunked", "Expect: 100-continue"))
    if connection.has_data(0.05):
        connection.send_if_possible(chunked(body, 1700))
        if check(connection, token, body):
            connection.send_if_possible(render("GET", f"/?{token}2", "Connection: close"))
            check(connection, f"{token}2")
    connection.end_sending()
    connection.read_to_end()


def large(connection: Connection, token: str) -> None:
    connection.send(render("GET", "/send?size=2000000&parts=40", "Connection: close"))
    response = connection.read_response()
    assert response.status in (500, 503) or response.body == pattern(2_000_000)
    finish(connection)


def file(connection: Connection, token: str) -> None:
    connection.send(render("GET", "/files/big.bin"))
    response = connection.read_response()
    assert response.status in (500, 503) or response.body == pattern(3_000_017), response.status
    finish(connection)


def broken_off(connection: Connection, token: str) -> None:
    connection.send_if_possible(render("POST", f"/?{token}", "Content-Length: 1000000") + b"z" * 3000)
    connection.reset()


def malformed(connection: Connection, token: str) -> None:
    connection.send_if_possible(b"GET  / HTTP/1.1\r\n\r\n" + b"w" * 100_000)
    assert connection.read_response().status in (400, 500)
    finish(connection)


VISITS: dict[str, Visit] = {
    visit.__name__: visit
    for visit in (kept_alive, pipelined, upload, upload_in_chunks, large, file, broken_off, malformed)
}


def pay(server: Server, visit: Visit, token: str, timeout_s: float) -> None:
    """A visit, which may be cut short."""
    try:
        with Connection(server.address, timeout_s=timeout_s, receive_buffer=16384) as connection:
            visit(connection, token)
    except TimeoutError as error:  # an OSError, too
        raise AssertionError("the client is kept waiting: neither is it let in nor are its bytes taken") from error
    except (Truncated, OSError):
        pass


def is_well(server: Server, token: str) -> bool:
    """Whether three clients one after the other are answered as if nothing had been."""
    for number in range(3):
        try:
            with Connection(server.address, timeout_s=5) as connection:
                connection.send(render("GET", f"/?{token}{number}", "Connection: close"))
                response = connection.read_response()
                if response.status != 200 or f'"{token}{number}"'.encode() not in response.body:
                    return False
        except (Truncated, ConnectionResetError, ConnectionRefusedError, AssertionError):
            return False
    return True


def descriptors_of_clients(pid: int) -> int:
    """What the server's processes have open, without what a thread more brings with it."""
    found = 0
    for member in tree(pid):
        with suppress(OSError):
            for number in os.listdir(f"/proc/{member.pid}/fd"):
                with suppress(OSError):
                    found += not os.readlink(f"/proc/{member.pid}/fd/{number}").endswith(("/schedstat", "[eventfd]"))
    return found


def recovers(server: Server, token: str, descriptors: int) -> str:
    """What is not as it was, in words; nothing if all is."""
    if not server.running:
        return "the server has ended"
    if not becomes_true(lambda: not server.running or is_well(server, token), 3):
        return "fresh clients are not answered"
    if not server.running:
        return "the server has ended"
    if not becomes_true(lambda: descriptors_of_clients(server.pid) <= descriptors, 3):
        return f"{descriptors_of_clients(server.pid) - descriptors} descriptors more are open"
    return ""


# Sweeps.

#: So that a thread or a process that fails is missed at once.
OPTIONS = {"preforked": ["--workers", "1"], "prethreaded": ["--threads", "1"]}

STOP_S = 60
"""The server's time for a graceful stop, which is longer than a test waits: no fault may leave behind what a stop
waits for."""

Fault = tuple[str, Site, int]
"""The visit, the call, and the error."""


def sweep(model: str, interface: str, static_tree: object, count: int | None, seed: str, only_c: bool) -> None:
    """Make `count` calls fail (None: all), one after the other. `only_c`: of the calls into C alone."""
    options = [*OPTIONS.get(model, []), "--limit-concurrency", "1", "--static", f"/files={static_tree}"]
    options += ["--graceful-timeout", str(STOP_S)]
    with FaultyServer(f"support.apps_{interface}:app", "--model", model, *options) as faulty:
        server = faulty.server
        chosen = sample(list(dict(possible_faults(faulty, only_c)).values()), count, seed)
        descriptors = descriptors_of_clients(server.pid)
        processes = {process.pid for process in tree(server.pid)}
        fired = 0
        for number, (name, site, kind) in enumerate(chosen):
            faulty.arm(site, kind)
            what = f"{name}: {site.place} {site.name}, {os.strerror(kind) if kind else 'memory'}"
            try:
                pay(server, VISITS[name], f"v{number}", timeout_s=5)
            except AssertionError as error:
                raise AssertionError(f"{what}: {error}") from error
            fired += faulty.disarm()
            wrong = recovers(server, f"w{number}", descriptors)
            assert not wrong, f"{what}: {wrong}\n{server.stderr()[-3000:]}"
        assert model == "forking" or {process.pid for process in tree(server.pid)} == processes
        assert fired >= len(chosen) * 0.5, "the calls are those of the visits"


def possible_faults(faulty: FaultyServer, only_c: bool) -> "list[tuple[tuple[str, int], Fault]]":
    """What may fail in the visits, each call once for each error."""
    found: list[tuple[tuple[str, int], Fault]] = []
    for name, visit in VISITS.items():
        for _ in range(2):  # the first brings with it what is made once
            pay(faulty.server, visit, "warm", timeout_s=5)
            wait_until(lambda: is_well(faulty.server, "well"), "the server has done with the visit")
        sites = faulty.record(lambda visit=visit: pay(faulty.server, visit, "recorded", timeout_s=5))  # type: ignore[misc]
        wait_until(lambda: is_well(faulty.server, "well"), "the server has done with the visit")
        tried = [site for site in sites if site.in_c] if only_c else sites
        found += [((site.place, kind), (name, site, kind)) for site in tried for kind in site.kinds()]
    return found


def sample(found: list[Fault], count: int | None, seed: str) -> list[Fault]:
    """Half of them system calls."""
    if count is None:
        return found
    random = Random(seed)
    calls = [fault for fault in found if fault[2]]
    others = [fault for fault in found if not fault[2]]
    half = min(len(calls), count // 2)
    return random.sample(calls, half) + random.sample(others, count - half)
