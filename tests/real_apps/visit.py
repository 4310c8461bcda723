"""What a visitor of an application does, and what is recorded of it.

A visit is a module of steps: functions that take a `Site`, talk to it with the application's own kind of client, assert
what they know themselves, and leave observations (status, fields, body), which `comparison` holds against those of
another server. Steps do not depend on each other: one that fails does not hide the next.
"""

import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from support.client import Address, Connection, Response
from support.journal import Journal
from support.waiting import PATIENCE_S

SHARED_MEMORY = "memory that all requests share"
LASTING_PROCESS = "a process that lasts longer than a connection"
CONCURRENCY = "more than one client at a time"

LACKS: dict[str, frozenset[str]] = {
    "iterative": frozenset({CONCURRENCY}),
    "forking": frozenset({SHARED_MEMORY, LASTING_PROCESS}),
    "preforked": frozenset({SHARED_MEMORY}),
}
"""What an application cannot have under a model, by design: there is one client at a time, or a process for each of
several."""

NAMES = ("AAA", "BBB", "CCC", "DDD")
"""Clients that read at the same time."""

MULTIPART = "multipart/form-data; boundary=a-boundary"
"""For a form whose bytes are always the same."""

_RECEIVE_BUFFER = 16384
_READ_BYTES = 100_000
_READ_PAUSE_S = 0.005
_SHOWN = 160

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Observation:
    """One answer, as the client saw it; `body` is what its content decodes to."""

    what: str
    status: int
    fields: Fields
    body: bytes = field(repr=False)


class Site:
    """One running application: where it is, the directory of its files, and what has been observed of it."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory
        self.journal = Journal(directory)
        self.observations: list[Observation] = []

    @property
    def address(self) -> Address:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def client(self, **settings: Any) -> "Client":
        """A client with cookies and connections of its own; each complete answer to it is recorded."""
        return Client(self, **settings)

    def get(self, target: str, **settings: Any) -> httpx.Response:
        """One request by a client of its own, recorded."""
        with self.client() as client:
            return client.get(target, **settings)

    def observe(self, what: str, status: int, fields: Iterable[tuple[str, str]], body: bytes) -> None:
        self.observations.append(Observation(what, status, tuple(fields), body))


class Client(httpx.Client):
    """httpx's client, which records what it has received in full. It follows no redirection."""

    def __init__(self, site: Site, **settings: Any) -> None:
        super().__init__(base_url=site.url, timeout=PATIENCE_S, trust_env=False, **settings)
        self._site = site

    def send(self, request: httpx.Request, *, stream: bool = False, **settings: Any) -> httpx.Response:
        response = super().send(request, stream=stream, **settings)
        if not stream:
            target = request.url.raw_path.decode("ascii")
            fields = ((name.decode("ascii"), value.decode("latin-1")) for name, value in response.headers.raw)
            self._site.observe(f"{request.method} {target}", response.status_code, fields, response.content)
        return response


def open_websocket(site: Site, target: str, **settings: Any) -> ClientConnection:
    """A WebSocket to the application, by the library `websockets`."""
    url = "ws" + site.url.removeprefix("http") + target
    return connect(url, proxy=None, open_timeout=PATIENCE_S, max_size=None, **settings)


@dataclass(frozen=True)
class Step:
    """`needs` and `reason`: what the application must have for this step, and why."""

    name: str
    run: Callable[[Site], None]
    needs: frozenset[str] = frozenset()
    reason: str = ""

    def excepted(self, model: str) -> bool:
        return bool(self.needs & LACKS.get(model, frozenset()))


def step(function: Callable[[Site], None]) -> Step:
    return Step(function.__name__.replace("_", " "), function)


def step_that_needs(*needs: str, reason: str) -> Callable[[Callable[[Site], None]], Step]:
    """A step which the models that lack one of `needs` are excused from."""
    return lambda function: Step(function.__name__.replace("_", " "), function, frozenset(needs), reason)


def steps_of(visit: ModuleType) -> list[Step]:
    """In the order in which they are written."""
    return [value for value in vars(visit).values() if isinstance(value, Step)]


@dataclass(frozen=True)
class Outcome:
    """What became of one step; `problem` is empty when it went well."""

    step: Step
    problem: str
    observations: tuple[Observation, ...]


def walk(steps: Iterable[Step], site: Site) -> list[Outcome]:
    """Run the steps one by one; whatever goes wrong in one is its outcome."""
    outcomes = []
    for each in steps:
        site.observations = []
        problem = ""
        try:
            each.run(site)
        except Exception as error:  # the clients are many and raise what they like
            problem = _problem(error)
        outcomes.append(Outcome(each, problem, tuple(site.observations)))
    return outcomes


def _problem(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):  # from a client's task group; the first cause will do
        error = error.exceptions[0]
    text = " ".join(str(error).split())
    if len(text) > 2 * _SHOWN:
        text = f"{text[:_SHOWN]} ... {text[-_SHOWN:]}"
    return text if isinstance(error, AssertionError) and text else f"{type(error).__name__}: {text}"


def expect(actual: object, expected: object, what: str) -> None:
    """Equality that says what differs, outside of pytest too."""
    if actual != expected:
        raise AssertionError(f"{what} is {_short(actual)}, not {_short(expected)}")


def expect_status(response: httpx.Response, status: int = 200) -> httpx.Response:
    expect(response.status_code, status, f"the status of {response.request.method} {response.request.url.path}")
    return response


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def read_slowly_at_once(site: Site, targets: Iterable[str]) -> list[bytes]:
    """The chunked bodies of simultaneous answers to clients that each read slowly, through a small window.

    More is sent than sockets hold, so the server has to keep several unfinished answers at a time (a model with one
    client at a time answers one after the other).

    Raises:
        AssertionError: an answer was cut, or not 200.
    """
    targets = list(targets)
    with ThreadPoolExecutor(len(targets)) as threads:
        answers = list(threads.map(functools.partial(_read_slowly, site.address), targets))
    for target, (head, _) in zip(targets, answers, strict=True):
        site.observe(f"GET {target}", head.status, head.fields, b"")
    return [body for _, body in answers]


def _read_slowly(address: Address, target: str) -> tuple[Response, bytes]:
    with Connection(address, receive_buffer=_RECEIVE_BUFFER) as connection:
        connection.send(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        head = connection.read_head()
        expect(head.status, 200, f"the status of GET {target}")
        return head, b"".join(_slow_chunks(connection))


def _slow_chunks(connection: Connection) -> Iterator[bytes]:
    since_pause = 0
    while chunk := connection.read_chunk():
        yield chunk
        since_pause += len(chunk)
        if since_pause > _READ_BYTES:
            time.sleep(_READ_PAUSE_S)  # what makes the client slow
            since_pause = 0


def expect_own_lines(bodies: Iterable[bytes], names: Iterable[str], count: int) -> None:
    """Each body has `count` lines, all of which begin with the name of the client that asked for it."""
    for body, name in zip(bodies, names, strict=True):
        lines = body.splitlines()
        foreign = sum(not line.startswith(name.encode()) for line in lines)
        expect((foreign, len(lines)), (0, count), f"(foreign lines, lines) in the answer for {name}")


@functools.cache
def pattern(size: int) -> bytes:
    """Bytes in which a missing, a repeated or a moved piece shows."""
    return b"".join(b"%07d\n" % number for number in range(size // 8 + 1))[:size]


def find(expression: str, text: str) -> str:
    """The first group of the expression's first match."""
    match = re.search(expression, text)
    assert match is not None, f"no {expression!r} in {text[:_SHOWN]!r}"
    return match[1]
