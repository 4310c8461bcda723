"""`--request-timeout` means the same in every model, and says what the application was doing."""

import json
import os
import re
from contextlib import ExitStack
from typing import Any

import pytest

from support.client import Connection, Truncated
from support.http2 import Connection as Http2Connection
from support.http2 import get
from support.marks import each_style
from support.messages import render
from support.models import IN_MAIN_INTERPRETER, WITH_WORKERS
from support.processes import children
from support.server import Server, serve
from support.waiting import becomes_true, wait_until

TIMEOUT = ("--request-timeout", "0.3", "--graceful-timeout", "1")


def late(model: str, interface: str, *options: str) -> Server:
    return serve(model, interface, *TIMEOUT, *options, app=f"support.app_late:{interface}")


def release(server: Server) -> None:
    (server.directory / "released").touch()


def _logged(server: Server) -> list[tuple[int, str]]:
    lines = (server.directory / "access.log").read_text().splitlines()
    return [(each["status"], each["target"]) for each in map(json.loads, lines)]


@pytest.mark.parametrize("model", IN_MAIN_INTERPRETER)
def test_client_is_answered_or_cut_and_the_log_explains(model: str, interface: str) -> None:
    options = ("--access-log", "access.log", "--access-log-format", "json", "--metrics-bind", "127.0.0.1:0")
    with late(model, interface, *options) as server:
        answer = server.get("/waits?x=1")
        assert answer.status == 504
        wait_until(lambda: "SEP101" in server.stderr(), "it is logged")
        record = server.stderr()[server.stderr().index("SEP101") :]
        assert re.match(
            r"SEP101 a request exceeds --request-timeout 0\.3: GET /waits\?x=1 of 127\.0\.0\.1, since \d\d:\d\d:\d\d "
            r"\(0\.\d s\), in process \d+; its client is answered 504\n",
            record,
        )
        what = "thread" if interface == "wsgi" else "task"
        marked = re.search(rf"{what} [^\n]*, which runs this request:\n((?:  .*\n?)+)", record)
        assert marked is not None, record
        assert "app_late.py" in marked[1]
        assert "wait_for_release" in marked[1]
        if interface == "asgi":
            server.journal.wait_for("cancelled")
            said = "GET /waits?x=1 was cancelled, because it has exceeded --request-timeout"
            wait_until(lambda: said in server.stderr(), "the log says why")
        release(server)
        wait_until(lambda: server.get("/").status == 200, "its thread is free again")
        (server.directory / "released").unlink()
        with server.connect() as connection:
            connection.send(render("GET", "/streams"))
            with pytest.raises(Truncated):
                connection.read_response()
        wait_until(lambda: "cut off in the middle of the answer" in server.stderr(), "it is logged")
        release(server)
        wait_until(lambda: server.get("/").status == 200, "it serves")
        # By the thread that watches, after it has sent the answer: other requests may be logged first.
        wait_until(lambda: (504, "/waits?x=1") in _logged(server), "it is in the access log")
        cut = {("/waits?x=1", 504, "timed out"), ("/streams", 200, "timed out")}
        wait_until(lambda: cut <= {each[:3] for each in _slowest(server)}, "both are among the slowest")
        assert all(ms >= 300 for _, _, outcome, ms in _slowest(server) if outcome == "timed out")


def _slowest(server: Server) -> list[tuple[str, int, str, float]]:
    return [(each["target"], each["status"], each["outcome"], each["ms"]) for each in status_of(server)["slowest"]]


@pytest.mark.parametrize("model", [model for model in WITH_WORKERS if model in IN_MAIN_INTERPRETER])
def test_thread_that_does_not_end_costs_its_worker(model: str) -> None:
    with late(model, "wsgi", "--workers", "1") as server:
        (before,) = children(server.pid)
        assert server.get("/waits").status == 504
        wait_until(lambda: "SEP102" in server.stderr(), "it is logged")
        wait_until(lambda: [each.pid for each in children(server.pid)] not in ([], [before.pid]), "it is replaced")
        wait_until(lambda: server.get("/").status == 200, "its replacement serves")
        release(server)


@each_style
def test_loop_that_is_blocked(model: str) -> None:
    with late(model, "asgi", "--workers", "1") as server:
        (before,) = children(server.pid)
        with server.connect() as connection:
            connection.send(render("GET", "/blocks"))
            wait_until(lambda: "SEP101" in server.stderr(), "it is logged")
            assert "wait_for_release" in server.stderr()
            wait_until(lambda: "the event loop does not run" in server.stderr(), "it is logged")
            request = r"GET /blocks of 127\.0\.0\.1, since \d\d:\d\d:\d\d \((\d\.\d) s\)"
            assert re.search(rf"SEP104 [^\n]* stands still: {request} blocks it\n", server.stderr()), server.stderr()
            taken = [re.search(rf"{code} [^\n]*{request}", server.stderr()) for code in ("SEP101", "SEP102")]
            early, late_s = (float(found[1]) for found in taken if found)
            assert late_s >= early + 1.9, "SEP102 comes two seconds later"
            wait_until(lambda: [each.pid for each in children(server.pid)] not in ([], [before.pid]), "it is replaced")
        wait_until(lambda: server.get("/").status == 200, "its replacement serves")
        release(server)


@each_style
def test_blocked_loop_is_explained_once(model: str) -> None:
    """The record names the request that blocks the loop, though others were late before it."""
    with late(model, "asgi", "--threads", "8", "--request-timeout", "1") as server, ExitStack() as stack:
        server.get("/")
        waiting = [stack.enter_context(server.connect()) for _ in range(3)]
        for connection in waiting:
            connection.send(render("GET", "/waits"))
        wait_until(lambda: server.journal.count("waits") == 3, "their tasks wait")
        blocking = stack.enter_context(server.connect())
        blocking.send(render("GET", "/blocks"))
        wait_until(lambda: server.stderr().count("SEP101") == 4, "all are late")
        wait_until(lambda: "SEP103" in server.stderr(), "nothing can replace the process")
        said = server.stderr()
        stalls = re.findall(r"SEP104 the event loop of process \d+ stands still: ([^\n]*)\n", said)
        assert len(stalls) == 1
        assert said.count("SEP103") == 1
        assert "GET /blocks of 127.0.0.1, since " in stalls[0]
        assert said.index("SEP104") < said.index("SEP101")
        record = said[said.index("SEP104") : said.index("SEP101")]
        first, *_ = record.split("\ntask")
        assert re.search(r"thread [^\n]*, which holds up the event loop:\n  File [^\n]*app_late.py", first), record
        assert "in wait_for_release\n" in first
        assert "threading.py" not in record
        assert "click" not in record
        assert "3 tasks" in record or re.search(r"tasks [^\n]*, [^\n]*, [^\n]*:", record), record
        later = said.count("nothing can be answered while the event loop stands still")
        assert later == (0 if "its client is answered 504" in said else 4)
        if not later:  # by its own thread
            assert blocking.read_response().status == 504
        release(server)


@each_style
def test_late_requests_share_the_stacks_of_the_others(model: str) -> None:
    with late(model, "asgi") as server, server.connect() as one, server.connect() as two:
        for connection in (one, two):
            connection.send(render("GET", "/waits"))
        assert {one.read_response().status, two.read_response().status} == {504}
        wait_until(lambda: server.stderr().count("SEP101") == 2, "both are logged")
        said = server.stderr()
        assert said.count("which runs this request") == 2
        assert said.count("the other threads and tasks are in the record of ") == 1
        release(server)


def test_wsgi_application_that_runs_on_the_loop() -> None:
    """Its clients are answered, and no record says otherwise."""
    with late("epoll", "wsgi", "--threads", "0", "--workers", "1") as server:
        assert server.get("/waits").status == 504
        wait_until(lambda: "its client is answered 504" in server.stderr(), "it is logged")
        assert re.search(r"which runs this request:\n  File [^\n]*app_late.py", server.stderr())
        assert "SEP104" not in server.stderr()
        release(server)


@each_style
def test_without_a_supervisor(model: str) -> None:
    with late(model, "wsgi", "--threads", "2", "--metrics-bind", "127.0.0.1:0") as server:
        assert server.get("/waits").status == 504
        wait_until(lambda: "SEP103" in server.stderr(), "it is logged")
        wait_until(lambda: server.get("/").status == 200, "others are served")
        named = re.search(r"SEP103 [^\n]*: its thread [^\n]* \((\d+)\) cannot be stopped", server.stderr())
        assert named is not None, server.stderr()
        assert named[1] in os.listdir(f"/proc/{server.pid}/task")
        wait_until(lambda: left_behind(server) == 1, "it is counted")
        wait_until(lambda: status_of(server)["processes"][0]["in_flight"] == 0, "none is in flight any more")
        (process,) = status_of(server)["processes"]
        if process["capacity"]:
            assert process["threads_taken"] == 1
            wait_until(lambda: status_of(server)["saturation"] >= 0.5, "it looks as busy as it is")
        release(server)
        wait_until(lambda: left_behind(server) == 0, "the thread is free again")


def status_of(server: Server) -> dict[str, Any]:
    found = re.search(r"metrics at http://127\.0\.0\.1:(\d+)", server.stderr())
    assert found is not None
    with Connection(("127.0.0.1", int(found[1]))) as connection:
        return dict(json.loads(connection.request("GET", "/status.json").body))


def left_behind(server: Server) -> int:
    return int(status_of(server)["requests"]["threads_left_behind"])


BEGINNINGS = 6
"""Number of requests of which one begins in its thread before its time is up, however busy the machine is. What a
library has not begun when its task is cancelled it does not begin any more, so nothing goes on then.
"""


@pytest.mark.parametrize("library", ["asyncio", "anyio"])
@each_style
def test_thread_of_an_asgi_application_that_goes_on(model: str, library: str) -> None:
    """Of a `def` endpoint, for example. It cannot be stopped, and is told and counted until it ends."""
    with late(model, "asgi", "--metrics-bind", "127.0.0.1:0") as server:
        for _ in range(BEGINNINGS):
            assert server.get(f"/{library}").status == 504
            if becomes_true(lambda: "SEP106" in server.stderr(), 5):
                break
        named = re.search(
            rf"SEP106 GET /{library} of 127\.0\.0\.1, since \S+ \(\d\.\d s\), in process \d+: its task was cancelled, "
            r"but a thread goes on for it, and cannot be stopped: [^\n]+ \((\d+)\)\n",
            server.stderr(),
        )
        assert named is not None, server.stderr()
        assert named[1] in os.listdir(f"/proc/{server.pid}/task")
        wait_until(lambda: left_behind(server) == 1, "it is counted")
        wait_until(lambda: server.get("/").status == 200, "others are served")
        release(server)
        wait_until(lambda: left_behind(server) == 0, "it has ended")
        wait_until(lambda: server.get(f"/{library}").status == 200, "others of its kind are answered")
        assert server.stderr().count("SEP106") == 1


def test_stream_of_a_client_whose_thread_runs_the_application() -> None:
    """Over HTTP/2 it is answered as well, as the log says, before its connection ends."""
    with (
        serve("threaded", "wsgi", *TIMEOUT, "--http2-cleartext", app="support.app_late:wsgi") as server,
        Http2Connection(server.address) as connection,
    ):
        assert connection.request("/waits").status == 504
        release(server)


def test_streams_that_wait_behind_one_that_takes_too_long() -> None:
    """A thread serves one after the other: each is ended once it has begun, and none runs without a limit."""
    with (
        serve("threaded", "asgi", *TIMEOUT, "--http2-cleartext", app="support.app_late:asgi") as server,
        Http2Connection(server.address) as connection,
    ):
        streams = [connection.ask(get("/waits")) for _ in range(3)]
        assert [connection.answer(stream).status for stream in streams] == [504, 504, 504]
        wait_until(lambda: server.stderr().count("SEP101") == 3, "each is logged, the last perhaps after its answer")
