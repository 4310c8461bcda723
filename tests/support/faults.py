"""Making a call of the server fail, once, while a client is served: what a test needs beside `septet_with_faults`.

A `FaultyServer` is told which call is to fail, and how; then a visit (see `fault_visits`) is paid to it. It must end
with a right and whole answer, an answer of an error, or a closed connection. Afterwards the server must be as it was.
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

from h2.exceptions import ProtocolError

from support.client import Connection, Truncated
from support.fault_visits import HTTP1, HTTP2, TLS, WEBSOCKETS, Doors, Visit
from support.messages import render
from support.processes import tree
from support.server import Server
from support.tls import Authority
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
    "poll": (errno.ENOMEM,),
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
        ("models/_leaders.py", "Leaders._hand_to_follower"),
        ("models/forking.py", "serve"),
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
        is_call_of_system = (self.in_c and self.name != "coroutine.send") or name.endswith("TemporaryFile")
        return (*memory, *(ERRORS.get(name, ()) if is_call_of_system else ()))


class FaultyServer:
    """A server of `ARGUMENTS`, whose calls can be made to fail. A context manager like `Server`."""

    def __init__(self, *arguments: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="septet-faults-")
        self._state = Path(self._directory.name) / "state"
        self._log = Path(self._directory.name) / "log"
        self._state.write_bytes(bytes(28))
        binds = ("http://127.0.0.1:0", "https://127.0.0.1:0")
        self.server = Server(*arguments, bind=binds, environment={"FAULTS_DIRECTORY": self._directory.name})
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


def pay(doors: Doors, visit: Visit, token: str, timeout_s: float) -> None:
    """A visit, which may be cut short."""
    try:
        visit(doors, token, timeout_s)
    except TimeoutError as error:  # an OSError, too
        raise AssertionError("the client is kept waiting: neither is it let in nor are its bytes taken") from error
    except ProtocolError as error:
        raise AssertionError(f"the server sends what is no HTTP/2: {error!r}") from error
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

MOST_FAILURES = 20
"""A sweep goes on after a failure, with another server, until there are so many."""

Fault = tuple[Visit, str, Site, int]
"""The visit and its name, the call, and the error."""


class _Unwell(Exception):
    """What a fault has done to the server, in words."""


def sweep(
    model: str,
    interface: str,
    static_tree: object,
    authority: Authority,
    counts: dict[str, int | None],
    seed: str,
    only_c: bool = False,
) -> None:
    """Make calls fail, one after the other: for each protocol of `VISITS` in `counts` as many (None: all). `only_c`: of
    the calls into C alone."""
    options = [*OPTIONS.get(model, []), "--limit-concurrency", "1", "--static", f"/files={static_tree}"]
    options += ["--graceful-timeout", str(STOP_S), "--http2-cleartext", *authority.server.options]
    app = "support.app_websocket:app" if interface == "asgi" else "support.apps_wsgi:app"
    visits = [visit for protocol in counts for visit in visits_of(protocol, interface).values()]
    left: list[Fault] | None = None
    tried = fired = 0
    failures: list[str] = []
    while left is None or (left and len(failures) < MOST_FAILURES):
        try:
            with FaultyServer(app, "--model", model, *options) as faulty:
                doors = Doors.of(faulty.server, authority)
                if left is None:
                    left = [
                        fault
                        for protocol, count in counts.items()
                        for fault in sample(possible_faults(faulty, doors, protocol, interface, only_c), count, seed)
                    ]
                else:
                    for visit in visits:  # which bring with them what is made once
                        pay(doors, visit, "warm", timeout_s=5)
                        wait_until(lambda: is_well(faulty.server, "well"), "the server has done with the visit")
                descriptors = descriptors_of_clients(faulty.server.pid)
                processes = {process.pid for process in tree(faulty.server.pid)}
                while left:
                    tried += 1
                    fired += make_fail(faulty, doors, left.pop(0), tried, descriptors)
                if model != "forking" and {process.pid for process in tree(faulty.server.pid)} != processes:
                    raise _Unwell("a process has ended")
        except _Unwell as failure:
            failures.append(str(failure))
    assert not failures, f"{len(failures)} of {tried} faults:\n\n" + "\n\n".join(failures)
    assert fired >= tried * 0.5, "the calls are those of the visits"


def make_fail(faulty: "FaultyServer", doors: Doors, fault: Fault, number: int, descriptors: int) -> bool:
    """Pay a visit during which a call fails; whether it has failed. Raises _Unwell."""
    visit, name, site, kind = fault
    server = faulty.server
    what = f"{name}: {site.place} {site.name}, {os.strerror(kind) if kind else 'memory'}"
    position = len(server.stderr())
    faulty.arm(site, kind)
    try:
        pay(doors, visit, f"v{number}", timeout_s=5)
    except AssertionError as error:
        raise _Unwell(f"{what}: {error}\n{server.stderr()[position:][-2500:]}") from error
    fired = faulty.disarm()
    wrong = recovers(server, f"w{number}", descriptors)
    if wrong:
        raise _Unwell(f"{what}: {wrong}\n{server.stderr()[position:][-2500:]}")
    return fired


VISITS = {"http1": HTTP1, "http2": HTTP2, "tls": TLS, "websocket": WEBSOCKETS}


def visits_of(protocol: str, interface: str) -> dict[str, Visit]:
    return {} if protocol == "websocket" and interface != "asgi" else VISITS[protocol]


def possible_faults(faulty: FaultyServer, doors: Doors, protocol: str, interface: str, only_c: bool) -> list[Fault]:
    """What may fail in the visits over a protocol, each call once for each error."""
    found: dict[tuple[str, int], Fault] = {}
    for name, visit in visits_of(protocol, interface).items():
        for _ in range(2):  # the first brings with it what is made once
            pay(doors, visit, "warm", timeout_s=5)
            wait_until(lambda: is_well(faulty.server, "well"), "the server has done with the visit")
        sites = faulty.record(lambda visit=visit: pay(doors, visit, "recorded", timeout_s=5))  # type: ignore[misc]
        wait_until(lambda: is_well(faulty.server, "well"), "the server has done with the visit")
        for site in sites:
            if site.in_c or not only_c:
                found.update({(site.place, kind): (visit, name, site, kind) for kind in site.kinds()})
    return list(found.values())


def sample(found: list[Fault], count: int | None, seed: str) -> list[Fault]:
    """Half of them system calls."""
    if count is None or len(found) <= count:
        return found
    random = Random(seed)
    calls = [fault for fault in found if fault[3]]
    others = [fault for fault in found if not fault[3]]
    half = min(len(calls), count // 2)
    return random.sample(calls, half) + random.sample(others, count - half)
