"""The span log: who had a request when, as the server itself writes it down."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from septet.access_log import AccessLog
from septet.errors import Failed
from septet.observers import Observers
from septet.protocol import RUN
from septet.rules import Rules
from septet.spans import MOST_TURNS, SpanLog
from support.carrier import CLIENT, Watched, ok, write_all
from support.messages import render
from support.models import MODELS, refusal
from support.server import serve
from support.waiting import wait_until

MS = 1_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spans.jsonl"


@pytest.fixture
def log(path: Path) -> SpanLog:
    return SpanLog.open(str(path))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def answer(session: Watched, data: bytes) -> None:
    session.client = CLIENT
    session.receive(data)
    while session.want is RUN:
        session.respond(ok(), b"hello", True)
        write_all(session)
    write_all(session)


def test_requests(path: Path, log: SpanLog) -> None:
    before = time.monotonic_ns()
    answer(Watched(Rules(observer=log)), render("GET", "/1") + render("GET", "/2?x"))
    first, second = lines(path)
    assert (first["request"], second["request"]) == ("GET /1", "GET /2?x")
    assert (first["client"], first["status"], first["version"]) == (list(CLIENT), 200, "1.1")
    assert before < first["began"] < first["ended"] <= second["began"] < second["ended"] < time.monotonic_ns()


def test_what_was_no_request_is_left_out(path: Path, log: SpanLog) -> None:
    answer(Watched(Rules(observer=log)), b"nonsense\r\n\r\n")
    assert lines(path) == []


def test_beside_the_access_log(path: Path, log: SpanLog, tmp_path: Path) -> None:
    with (tmp_path / "access.log").open("ab", buffering=0) as file:
        session = Watched(Rules(observer=Observers(AccessLog(file), log)))
        answer(session, render("GET", "/1") + b"nonsense\r\n\r\n")
    (span,) = lines(path)
    assert span["ended"] - span["began"] > 0
    took = [line.split()[-1] for line in (tmp_path / "access.log").read_text().splitlines()]
    assert took[0].isdigit()
    assert took[1] == "-"


def test_path_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="cannot write the span log"):
        SpanLog.open(str(tmp_path / "none" / "spans"))


def test_disk_that_is_full(caplog: pytest.LogCaptureFixture) -> None:
    answer(Watched(Rules(observer=SpanLog.open("/dev/full"))), render("GET", "/"))
    assert "cannot write the span log" in caplog.text


def work() -> None:
    """For two milliseconds."""
    until = time.monotonic_ns() + 2 * MS
    while time.monotonic_ns() < until:
        pass


ENVIRON = {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "4711"}


def test_turn_of_wsgi(path: Path, log: SpanLog) -> None:
    body = [b"hello"]
    assert log.around(lambda environ, start_response: body, "wsgi")(ENVIRON, None) is body
    (span,) = lines(path)
    assert (span["client"], span["thread"]) == (["192.0.2.1", 4711], threading.get_native_id())
    ((start, end),) = span["turns"]
    assert start < end
    assert 0 < span["cpu"] <= end - start
    assert span["interface"] == "wsgi"


def test_turns_of_a_generator_are_those_in_which_it_runs(path: Path, log: SpanLog) -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    parts = log.around(application, "wsgi")(ENVIRON, None)
    assert list(parts) == [b"one", b"two"]
    assert not path.read_text()
    parts.close()
    (span,) = lines(path)
    assert len(span["turns"]) == 4  # the call, two parts, the end


def test_application_that_raises(path: Path, log: SpanLog) -> None:
    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        raise LookupError

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        log.around(wsgi, "wsgi")(ENVIRON, None)
    with pytest.raises(LookupError):
        asyncio.run(log.around(asgi, "asgi")({"type": "http", "client": None}, None, None))
    assert [len(span["turns"]) for span in lines(path)] == [1, 1]


def test_turns_of_a_coroutine_are_between_its_waits(path: Path, log: SpanLog) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> str:
        work()
        await asyncio.sleep(0.02)
        work()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.02)  # a cancellation is thrown in, and comes through
        return "done"

    scope = {"type": "http", "client": ("192.0.2.1", 4711)}
    asyncio.run(log.around(application, "asgi")(scope, None, None))
    (span,) = lines(path)
    turns = span["turns"]
    assert len(turns) >= 3
    assert turns[0][1] - turns[0][0] >= 2 * MS
    assert turns[1][0] - turns[0][0] >= 20 * MS
    assert all(start < end for start, end in turns)
    assert all(left[1] <= right[0] for left, right in pairwise(turns))


def test_lifespan_is_nobodys_turn(path: Path, log: SpanLog) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send("started")

    said: list[str] = []

    async def send(message: str) -> None:
        said.append(message)

    asyncio.run(log.around(application, "asgi")({"type": "lifespan"}, None, send))
    assert said == ["started"]
    assert lines(path) == []


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize("model", MODELS)
def test_of_a_server(model: str, interface: str, path: Path) -> None:
    if reason := refusal(model):
        pytest.skip(reason)
    with serve(model, interface, "--span-log", str(path)) as server:
        with server.connect() as connection:
            assert [connection.request("GET", f"/{number}").status for number in (1, 2)] == [200, 200]
            port = connection.socket.getsockname()[1]
        wait_until(lambda: len(lines(path)) == 4, "both requests are in the log")
        pids = {process.pid for process in server.tree()} | {server.pid}
    spans = [line for line in lines(path) if "request" in line]
    turns = [line for line in lines(path) if "turns" in line]
    assert [span["request"] for span in spans] == ["GET /1", "GET /2"]
    assert {tuple(span["client"]) for span in spans + turns} == {("127.0.0.1", port)}
    for span, own in zip(spans, turns, strict=True):
        assert span["accepted"] <= span["began"] <= own["turns"][0][0] < own["turns"][-1][1]
        assert own["interface"] == interface
    if model != "forking":  # whose process is gone by now
        assert {own["process"] for own in turns} <= pids


def test_turns_of_a_websocket(path: Path) -> None:
    """They are written before it ends, if there are many."""
    with serve("epoll", "asgi", "--span-log", str(path), app="support.app_websocket:app") as server:
        host, port = server.address
        with connect(f"ws://{host}:{port}/echo", proxy=None) as client:
            for _ in range(MOST_TURNS + 1):
                client.send("hello")
                assert client.recv(20) == "hello"
            wait_until(lambda: any("turns" in line for line in lines(path)), "turns are written")
        wait_until(lambda: any("request" in line for line in lines(path)), "its end is written")
        wait_until(lambda: sum("turns" in line for line in lines(path)) == 2, "and the other turns")
        turns = [line for line in lines(path) if "turns" in line]
        (request,) = [line for line in lines(path) if "request" in line]
        assert len({tuple(line["client"]) for line in (*turns, request)}) == 1
        assert request["status"] == 101
        assert len(turns[0]["turns"]) == MOST_TURNS
