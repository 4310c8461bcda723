"""The open loop: what is due at fixed instants, and what a stalled server looks like then."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from septet.lab.load import Plan, run
from septet.lab.load.limits import prepare
from septet.lab.load.open_loop import OpenLoop
from support import scripted_server
from support.scripted_server import ANSWER, CLOSING_ANSWER, Connection, ScriptedServer, keep_answering

SERVER = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from support.scripted_server import ScriptedServer, keep_answering
with ScriptedServer(keep_answering) as server:
    print(server.url, flush=True)
    sys.stdin.readline()
"""


def load(url: str, **changes: Any) -> dict[str, Any]:
    return run(Plan(**{"url": url, "users": 20, "rate": 200.0, "duration_s": 0.5, "warmup_s": 0.2, **changes}))


@pytest.mark.parametrize("mode", ["keep-alive", "close"])
def test_requests_come_at_the_rate(mode: str) -> None:
    with ScriptedServer(keep_answering) as server:
        figures = load(server.url, mode=mode)
        assert figures["errors"] == {}
        assert figures["due"] == pytest.approx(100, abs=2)
        assert figures["answers"] == figures["due"]
        # On a busy machine answers come late: those to the warm-up's 40 in the window, and the window's own after it.
        assert 0 < figures["requests_per_s"] <= (100 + 40 + 2) / figures["window_s"] + 1e-6
        assert figures["unanswered"] == 0
        # Sent late on a busy machine, and the service begins only then: the latency that is told has both.
        late = figures["send_late_us"]["p50"]  # None: all requests of the window were sent after it
        assert late is None or late <= figures["latency_us"]["max"]
        assert (server.connections <= 20) == (mode == "keep-alive")


def test_requests_that_find_no_free_connection_are_counted_and_wait() -> None:
    def slow(connection: Connection) -> None:
        while connection.request():
            time.sleep(0.1)
            connection.send(ANSWER)

    with ScriptedServer(slow) as server:
        figures = load(server.url, users=2, rate=40.0, duration_s=1.0, warmup_s=0.0, timeout_s=5.0)
        assert figures["errors"] == {}
        assert figures["answers"] == figures["due"] == pytest.approx(40, abs=2)
        # Little's law: two users are busy from the first request to the last; on a busy machine they wait for CPUs too.
        assert 1 < figures["requests_per_s"] * figures["service_us"]["mean"] / 1e6 < 2.5
        assert figures["no_free_connection"] > 25
        assert figures["service_us"]["p50"] >= 100_000
        assert figures["latency_us"]["max"] > 700_000  # the last one waited for half of all


def test_requests_that_wait_too_long_are_errors() -> None:
    def never(connection: Connection) -> None:
        while connection.request():
            pass

    with ScriptedServer(never) as server:
        figures = load(server.url, users=1, rate=50.0, warmup_s=0.0, timeout_s=0.2)
        assert set(figures["errors"]) == {"time-out", "no free connection"}
        assert sum(figures["errors"].values()) + figures["unanswered"] == figures["due"]
        assert figures["answers"] == 0


def test_idle_connections_may_be_closed() -> None:
    def closes_when_idle(connection: Connection) -> None:
        connection.request()
        connection.send(ANSWER)

    with ScriptedServer(closes_when_idle) as server:
        figures = load(server.url, users=1, rate=20.0)
        assert figures["errors"] == {}
        assert figures["answers"] == figures["due"]


def test_announced_close() -> None:
    def closes(connection: Connection) -> None:
        connection.request()
        connection.send(CLOSING_ANSWER)

    with ScriptedServer(closes) as server:
        figures = load(server.url)
        assert figures["errors"] == {}
        assert figures["answers"] == figures["due"]


def silence(pid: int) -> None:
    """Stop the server for a second, or a little more when this machine is busy; never for less."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.0)
    os.kill(pid, signal.SIGCONT)


def silenced_in_between(plan: Plan, pid: int) -> dict[str, Any]:
    """The figures of a run in whose window the server is stopped for a second."""
    timer = threading.Timer(0.7, silence, (pid,))

    def hear(event: str, details: dict[str, Any]) -> None:
        if event == "measuring":
            timer.start()

    figures = run(plan, hear)
    timer.join()
    return figures


@pytest.fixture
def server() -> Any:
    tests = Path(scripted_server.__file__).parent.parent
    command = [sys.executable, "-c", SERVER, str(tests)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
        process.kill()


def test_a_second_of_silence_shows_in_the_tail(server: tuple[str, int]) -> None:
    """A quarter of the requests fell due while nobody answered: they waited from 0 to 1 s, evenly spread."""
    url, pid = server
    figures = silenced_in_between(Plan(url, users=400, rate=300.0, duration_s=4.0, warmup_s=0.3), pid)
    assert figures["errors"] == {}
    assert figures["answers"] == figures["due"] == pytest.approx(1200, abs=3)
    latency = figures["latency_us"]
    assert latency["max"] >= 950_000
    assert latency["p99"] >= 900_000
    for least_s in (0.25, 0.5, 0.75):
        slower = sum(count for us, count in figures["histogram_us"].items() if us >= least_s * 1e6)
        assert slower >= 0.9 * 300 * (1 - least_s)  # more on a busy machine, never fewer


def test_the_closed_loop_hides_it(server: tuple[str, int]) -> None:
    """Each user waited once: in the percentiles of many quick answers that is next to nothing."""
    url, pid = server
    figures = silenced_in_between(Plan(url, users=4, duration_s=3.0, warmup_s=0.3), pid)
    slow = sum(count for us, count in figures["histogram_us"].items() if us >= 900_000)
    assert slow == 4
    assert figures["latency_us"]["p99"] < 500_000


def test_requests_that_were_due_when_the_window_ended_are_sent_even_if_the_generator_was_late() -> None:
    """As on a busy machine, where its process may not run in the last moments of the window."""
    with ScriptedServer(keep_answering) as server:
        plan = Plan(server.url, users=20, rate=200.0, duration_s=0.2, warmup_s=0.0)
        loop = OpenLoop(plan, prepare(plan), lambda event, details: None)
        loop.measure()
        loop.align(loop.tally.begun_ns)
        time.sleep(0.25)
        loop.end()
        raw = loop.raw()
        loop.close()
    assert raw["counts"]["due"] == 40
