"""Several event loops in one process (`--loops`): who serves whom, what is shared, and how they begin and end.

They are for Pythons without a GIL, and are refused elsewhere. Here they run under every Python, in a program of its own
threads: with a GIL the loops take turns, after each microsecond.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

import septet
from septet.models._client_connection import ClientConnection
from septet.models._loops import _join
from support.models import LOOPS, io_uring_refusal
from support.stress import in_threads
from support.struck import struck_at
from support.waiting import wait_until

N = 3


@pytest.fixture(params=LOOPS)
def model(request: pytest.FixtureRequest) -> str:
    if request.param == "io_uring" and (reason := io_uring_refusal()):
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture(autouse=True)
def _without_gil(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "refused" not in request.node.name:
        monkeypatch.setattr("septet.settings.checks.has_gil", lambda: False)


def connect(server: septet.Server) -> HTTPConnection:
    address = urlsplit(server.url)
    return HTTPConnection(address.hostname or "", address.port, timeout=20)


def ask(client: HTTPConnection, path: str = "/") -> str:
    client.request("GET", path)
    return client.getresponse().read().decode()


class Asynchronous:
    """Says on which thread it runs. Each loop has a state of its own, in which its lifespan has put its thread."""

    def __init__(self, fails_at: int = 0) -> None:
        self.events: list[tuple[str, str]] = []
        self.at_once = self.most_at_once = 0
        self._fails_at = fails_at
        self.gate: dict[asyncio.AbstractEventLoop, asyncio.Event] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        here = threading.current_thread().name
        if scope["type"] == "lifespan":
            await self.live(scope, receive, send, here)
            return
        assert scope["state"]["thread"] == here
        if scope["path"] == "/wait":
            event = self.gate.setdefault(asyncio.get_running_loop(), asyncio.Event())
            await event.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": here.encode()})

    async def live(self, scope: Any, receive: Any, send: Any, here: str) -> None:
        while True:
            kind = (await receive())["type"]
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            await asyncio.sleep(0.01)
            self.events.append((kind, here))
            scope["state"]["thread"] = here
            self.at_once -= 1
            if len(self.events) == self._fails_at:
                await send({"type": f"{kind}.failed", "message": "there is no database"})
                return
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return


def test_clients_are_shared_out_evenly(model: str) -> None:
    app = Asynchronous()
    with septet.Server(app, model=model, loops=N) as server, ExitStack() as stack:
        clients = [connect(server) for _ in range(4 * N)]
        for client in clients:
            stack.callback(client.close)
        first = [ask(client) for client in clients]
        assert sorted(map(first.count, set(first))) == [4] * N
        assert [ask(client) for client in clients] == first  # a connection stays with its loop


def test_each_loop_has_its_lifespan(model: str) -> None:
    """One after the other, and before the first client is accepted."""
    app = Asynchronous()
    with septet.Server(app, model=model, loops=N) as server:
        assert [kind for kind, _ in app.events] == ["lifespan.startup"] * N
        client = connect(server)
        ask(client)
        client.close()
    threads = {f"septet-loop-{number}" for number in range(1, N + 1)}
    for kind in ("lifespan.startup", "lifespan.shutdown"):
        assert {thread for found, thread in app.events if found == kind} == threads
    assert len(app.events) == 2 * N
    assert app.most_at_once == 1


@pytest.mark.parametrize("which", range(1, N + 1))
def test_a_start_that_fails_on_one_loop_ends_all(model: str, which: int) -> None:
    app = Asynchronous(fails_at=which)
    with pytest.raises(septet.Failed, match="there is no database"):
        septet.Server(app, model=model, loops=N).__enter__()
    wait_until(lambda: len(app.events) == 2 * which - 1, "those that have started are shut down")


def synchronous(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    path = environ["PATH_INFO"].encode()
    if path.startswith(b"/parts"):
        return (part for part in (path, b" ", path))
    if path.startswith(b"/write"):
        write(path)
        return [b" ", path]
    return [path, b" ", path]


def test_answers_reach_their_clients(model: str) -> None:
    """WSGI: each loop has its leader and followers. All share the heads, files and caches of the process."""
    with septet.Server(synchronous, model=model, loops=N, threads=2) as server:

        def visit(number: int) -> None:
            client = connect(server)
            for turn in range(60):
                path = f"/{('plain', 'parts', 'write')[turn % 3]}/{number}/{turn}"
                assert ask(client, path) == f"{path} {path}"
            client.close()

        in_threads(visit)


def test_requests_in_flight_are_answered_at_the_stop(model: str) -> None:
    app = Asynchronous()
    answers: list[str] = []
    with septet.Server(app, model=model, loops=N) as server:

        def wait_for_answer() -> None:
            client = connect(server)
            answers.append(ask(client, "/wait"))
            client.close()

        clients = [threading.Thread(target=wait_for_answer) for _ in range(N)]
        for number, client in enumerate(clients, 1):
            client.start()
            wait_until(lambda number=number: len(app.gate) == number, "its request waits on a loop of its own")
        opener = threading.Timer(0.3, lambda: [loop.call_soon_threadsafe(gate.set) for loop, gate in app.gate.items()])
        opener.start()
    for client in clients:
        client.join()
    assert sorted(answers) == [f"septet-loop-{number}" for number in range(1, N + 1)]


def test_stop_without_patience_cuts_them_on_all_loops(model: str) -> None:
    app = Asynchronous()
    ends: list[object] = []
    with septet.Server(app, model=model, loops=N, graceful_timeout=0.2) as server:

        def wait_in_vain() -> None:
            client = connect(server)
            try:
                ends.append(ask(client, "/wait"))
            except (ConnectionError, OSError) as error:
                ends.append(error)
            client.close()

        clients = [threading.Thread(target=wait_in_vain) for _ in range(N)]
        for number, client in enumerate(clients, 1):
            client.start()
            wait_until(lambda number=number: len(app.gate) == number, "its request waits on a loop of its own")
    for client in clients:
        client.join()
    assert all(isinstance(end, Exception) for end in ends), ends


def test_limits_hold_for_all_loops_together(model: str) -> None:
    app = Asynchronous()
    with septet.Server(app, model=model, loops=N, limit_concurrency=1) as server:
        waiting, other = connect(server), connect(server)
        waiting.request("GET", "/wait")
        wait_until(lambda: len(app.gate) == 1, "a request waits")
        other.request("GET", "/")
        assert other.getresponse().status == 503
        for loop, gate in app.gate.items():
            loop.call_soon_threadsafe(gate.set)
        assert waiting.getresponse().status == 200
        waiting.close()
        other.close()


def test_access_log_and_metrics_are_of_all_loops(model: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "septet")
    with septet.Server(synchronous, model=model, loops=N, access_log="logger", metrics_interval=0.2) as server:

        def visit(number: int) -> None:
            client = connect(server)
            for turn in range(20):
                ask(client, f"/{number}/{turn}")
            client.close()

        in_threads(visit, N)
        wait_until(lambda: sum(requests_in(caplog)) == 20 * N, "the requests are in the log of metrics")
    assert sum('" 200 ' in record.getMessage() for record in caplog.records) == 20 * N
    assert all(text.count(",") == N - 1 for text in shares_in(caplog))


def lines_in(caplog: pytest.LogCaptureFixture) -> Iterator[dict[str, str]]:
    for record in caplog.records:
        text = record.getMessage()
        if text.startswith("metrics "):
            yield dict(word.split("=") for word in text.split()[1:])


def requests_in(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [int(line["requests"]) for line in lines_in(caplog)]


def shares_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line["idle_by_loop"] for line in lines_in(caplog)]


def test_several_loops_are_refused_with_a_gil(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("septet.settings.checks.has_gil", lambda: True)
    with pytest.raises(septet.UsageError, match=r"loops is 2, but must be 1: this Python .*GIL"):
        septet.Server(synchronous, model=model, loops=2)
    with septet.Server(synchronous, model=model, loops=1) as server:
        client = connect(server)
        assert ask(client, "/one") == "/one /one"
        client.close()


@pytest.mark.parametrize("other", ["threaded", "prethreaded"])
def test_other_models_have_no_loops(other: str) -> None:
    with pytest.raises(septet.UsageError, match=f"must be left out with the model {other}: only poll, epoll, io_uring"):
        septet.Server(synchronous, model=other, loops=1)


def test_client_that_the_loop_has_seen_leave() -> None:
    """The application's thread asks for the client when the loop has closed the socket already, in its own thread."""
    connection = ClientConnection.__new__(ClientConnection)
    connection._descriptor = -1
    assert connection.client_has_left()


def test_loops_are_waited_for_wherever_that_is_struck() -> None:
    """Also where a first exception is logged, or it is asked whether the thread has ended."""
    joined = 0

    class Ends:
        living = 2

        def is_alive(self) -> bool:
            return self.living > 0

        def join(self) -> None:
            nonlocal joined
            self.living -= 1
            if self.living:
                raise KeyboardInterrupt
            joined += 1

    def wait() -> None:
        _join(thread)
        ended.append(thread.living)

    ended: list[int] = []
    number, begun = 0, 0
    while True:
        thread: Any = Ends()
        before = len(ended)
        if not struck_at(number, wait, real=True):
            break
        if thread.living == 2:
            begun = number  # before the thread was waited for
        elif number < begun + 20:
            assert len(ended) > before, f"struck at {number}"
        number += 1
    assert number > begun + 20
    assert set(ended) == {0}
