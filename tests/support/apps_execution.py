"""A WSGI application that observes where it runs: on which thread, in which context, whether beside a running loop.

The rule that frameworks live by: the call, every next() and close() of one answer happen on one thread, in one context
of its own, in which asyncio has no running loop, and no other request's code runs on that thread in between. What an
answer sees of a departure from it is a fault, in words. Its record is one line of the journal, written in its close().

Routes that are not here are those of `apps_wsgi`.
"""

import asyncio
import json
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import GeneratorType
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async

from support import apps_wsgi, journal
from support.apps_wsgi import BINARY, OK, Environ, StartResponse, answer
from support.behaviour import Parameters, digest, error, parameters, to_json
from support.messages import pattern

Parts = Iterator[bytes]
Route = Callable[[Environ, StartResponse, Parameters], Iterable[bytes]]

FAULTS_KEPT = 5

_owner: ContextVar[str] = ContextVar("owner")
_step: ContextVar[int] = ContextVar("step")
_local = threading.local()
_occupants: dict[int, str] = {}
"""By thread: the answer that has begun on it and is not closed."""


class Observation:
    """What one answer sees, from its call to its close."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.thread = threading.get_ident()
        self.steps = 0
        self.faults: list[str] = []
        if (left := _owner.get("")) != "":
            self.faults.append(f"call: in a context that {left} has used")
        if (occupant := _occupants.setdefault(self.thread, token)) != token:
            self.faults.append(f"call: in the middle of {occupant} on the same thread")
        self._expect_no_loop("call")
        _owner.set(token)
        _step.set(0)
        _local.token = token

    def step(self, what: str) -> None:
        """To be called in every call of the server's. Each leaves in the context what the next one must find there."""
        where = f"{what} ({self.steps})"
        if threading.get_ident() != self.thread:
            self.faults.append(f"{where}: on another thread than the call")
        elif (occupant := _occupants.get(self.thread)) != self.token:
            self.faults.append(f"{where}: after {occupant} has begun on the same thread")
        if (_owner.get("nobody"), _step.get(-1)) != (self.token, self.steps):
            self.faults.append(f"{where}: in a context of {_owner.get('nobody')}, step {_step.get(-1)}")
        if (local := getattr(_local, "token", "nobody")) != self.token:
            self.faults.append(f"{where}: the thread-local is that of {local}")
        self._expect_no_loop(where)
        self.steps += 1
        _step.set(self.steps)

    def _expect_no_loop(self, where: str) -> None:
        if asyncio._get_running_loop() is not None:
            self.faults.append(f"{where}: asyncio has a running loop")

    def end(self) -> None:
        """To be called in close()."""
        self.step("close")
        if _occupants.get(self.thread) == self.token:
            del _occupants[self.thread]
        main = self.thread == threading.main_thread().ident
        record = {"thread": self.thread, "main": main, "steps": self.steps, "faults": self.faults[:FAULTS_KEPT]}
        journal.write(f"observed {self.token} {json.dumps(record)}")


class Observed:
    """The iterable of an answer, observed; `at_close` is called in its close()."""

    def __init__(self, observation: Observation, parts: Parts, at_close: Callable[[], object] | None = None) -> None:
        self._observation = observation
        self._parts = parts
        self._at_close = at_close

    def __iter__(self) -> "Observed":
        return self

    def __next__(self) -> bytes:
        self._observation.step("next")
        return next(self._parts)

    def close(self) -> None:
        try:
            if isinstance(self._parts, GeneratorType):
                self._parts.close()
            if self._at_close is not None:
                self._at_close()
        finally:
            self._observation.end()


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    route = ROUTES.get(environ["PATH_INFO"])
    if route is None:
        return apps_wsgi.app(environ, start_response)
    return route(environ, start_response, parameters(environ["QUERY_STRING"]))


# Answers whose parts are taken one by one


def marked(token: str, size: int) -> bytes:
    """About `size` bytes that hold nothing but the token: what `own_part` is for an answer that sees its own alone."""
    mark = f"<{token}>".encode()
    return mark * max(2, size // len(mark) // 2 * 2)


def own_part(size: int) -> bytes:
    """The first half by the thread-local's token, the other by the context's."""
    by_thread, by_context = getattr(_local, "token", "nobody"), _owner.get("nobody")
    if by_thread == by_context:
        return marked(by_thread, size)
    return marked(by_thread, size // 2) + marked(by_context, size // 2)


def observe(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """An answer whose parts come `how` says, with a Content-Length if the query gives one."""
    observation = Observation(query["token"])
    parts = HOW[query.get("how", "parts")](environ, query)
    length = [("Content-Length", query["length"])] if "length" in query else []
    write = start_response(OK, [BINARY, *length])
    if "write" not in query:
        return Observed(observation, parts)
    for part in parts:
        observation.step("write")
        write(part)
    return Observed(observation, iter((b"",)))


def _parts(environ: Environ, query: Parameters) -> Parts:
    """`parts` parts of `size` bytes; one that is to `fail` raises instead."""
    for number in range(int(query.get("parts", "1"))):
        if query.get("fail") == str(number):
            raise error(query)
        yield own_part(int(query.get("size", "1")))


def _upload(environ: Environ, query: Parameters) -> Parts:
    """What was read of the request's body so far; its beginning is read in the call, the rest piece by piece."""
    stream = environ["wsgi.input"]
    body = stream.read(1000)

    def rest() -> Parts:
        nonlocal body
        yield f"{len(body)} ".encode()
        while data := stream.read(100_000):
            body += data
            yield f"{len(body)} ".encode()
        yield digest(body).encode()

    return rest()


def _gate(environ: Environ, query: Parameters) -> Parts:
    """A first part, then nothing until the gate is open. With `bare` no first part, but the wait alone."""
    if "bare" not in query:
        yield b"first"
    with counted(query["gate"]):
        journal.pass_gate(query["gate"])
        journal.write(f"left gate {query['gate']}")
    yield b"rest"


HOW: dict[str, Callable[[Environ, Parameters], Parts]] = {"parts": _parts, "upload": _upload, "gate": _gate}


_inside = 0
_inside_lock = threading.Lock()


@contextmanager
def counted(gate: str) -> Iterator[None]:
    """Journals how many answers are at a gate at the same time, this one included."""
    global _inside
    with _inside_lock:
        _inside += 1
        journal.write(f"inside {gate}: {_inside}")
    try:
        yield
    finally:
        with _inside_lock:
            _inside -= 1


class ObservedFile:
    """A file for wsgi.file_wrapper, which closes it."""

    def __init__(self, observation: Observation, path: Path) -> None:
        self._observation = observation
        self._file = path.open("rb")
        self.read, self.fileno, self.tell = self._file.read, self._file.fileno, self._file.tell

    def close(self) -> None:
        self._file.close()
        self._observation.end()


def file(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """A file of `size` bytes, marked as the parts are."""
    observation = Observation(query["token"])
    path = Path(os.environ[journal.VARIABLE]) / f"file-{query['token']}"
    path.write_bytes(marked(query["token"], int(query["size"])))
    start_response(OK, [BINARY])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](ObservedFile(observation, path))
    return wrapped


# What an application may do only where nothing is in its way


async def _sleep_in_a_task() -> str:
    await asyncio.gather(*(asyncio.create_task(asyncio.sleep(0.001)) for _ in range(3)))
    return "ran"


async def _sync_and_back() -> str:
    """What asgiref calls thread-sensitive comes back to the thread that waits for the coroutine."""
    await asyncio.sleep(0.001)
    return "ran" if await sync_to_async(lambda: getattr(_local, "token", "nobody"))() == _owner.get() else "elsewhere"


def _set_signal() -> str:
    try:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    except ValueError:
        return "ValueError"
    return "set"


DEEDS: dict[str, Callable[[], str]] = {
    "asyncio.run": lambda: asyncio.run(_sleep_in_a_task()),
    "async_to_sync": lambda: async_to_sync(_sync_and_back)(),
    "signal": _set_signal,
}


def do(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """Do the deed in the call, in the second next() and in close(); answer with what came of the first two."""
    deed, token = DEEDS[query["deed"]], query["token"]
    observation = Observation(token)
    called = deed()
    start_response(OK, [BINARY])

    def parts() -> Parts:
        yield b"call: " + called.encode()
        yield b", next: " + deed().encode()

    return Observed(observation, parts(), lambda: journal.write(f"in close {token}: {deed()}"))


def rows(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """Rows of a database whose connection belongs to the thread that made it: sqlite3's check_same_thread."""
    observation = Observation(query["token"])
    connection = sqlite3.connect(":memory:")
    count, width = int(query["rows"]), int(query["width"])
    numbers = "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers LIMIT ?)"
    cursor = connection.execute(f"{numbers} SELECT n, ? FROM numbers", (count, "x" * width))
    start_response(OK, [BINARY])

    def parts() -> Parts:
        try:
            for number, text in cursor:
                yield row(number, text)
        finally:
            connection.close()

    return Observed(observation, parts())


def row(number: int, text: str) -> bytes:
    return f"{number} {text}\n".encode()


# What is to leave while the application waits


def write_first(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """By write(), before it waits at the gate."""
    observation = Observation(query["token"])
    write = start_response(OK, [BINARY])
    write(b"first")
    journal.pass_gate(query["gate"])
    observation.step("write")
    write(b"second")
    return Observed(observation, iter((b"rest",)))


def hint_first(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """An interim answer, before it waits at the gate."""
    observation = Observation(query["token"])
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    journal.pass_gate(query["gate"])
    start_response(OK, [BINARY])
    return Observed(observation, iter((b"rest",)))


def enter(environ: Environ, start_response: StartResponse, query: Parameters) -> list[bytes]:
    """Journal the arrival and answer at once."""
    journal.write(f"entered {query['token']}")
    return answer(start_response, to_json({"digest": digest(environ["wsgi.input"].read())}))


def big(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    """The whole in one part."""
    return answer(start_response, marked(query["token"], int(query["size"])))


class Endless:
    """Parts for ever (bounded, so that a server without a bound ends), observed."""

    def __init__(self, token: str) -> None:
        self._observation, self._part, self.given = Observation(token), pattern(1 << 16), 0

    def __iter__(self) -> Iterator[bytes]:
        while self.given < 4096:
            self._observation.step("next")
            self.given += 1
            yield self._part

    def close(self) -> None:
        journal.write(f"parts of {self._observation.token}: {self.given}")
        self._observation.end()


def endless(environ: Environ, start_response: StartResponse, query: Parameters) -> Iterable[bytes]:
    start_response(OK, [BINARY])
    return Endless(query["token"])


ROUTES: dict[str, Any] = {
    "/observe": observe,
    "/file": file,
    "/do": do,
    "/rows": rows,
    "/write-first": write_first,
    "/hint-first": hint_first,
    "/enter": enter,
    "/big": big,
    "/endless": endless,
}
