"""`septet load --slo` as a user runs it."""

import csv
import json
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from support.commands import septet, septet_here
from support.marks import draws
from support.scripted_server import ANSWER, Connection, ScriptedServer, keep_answering

pytestmark = draws  # --slo draws the curve

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
SHORT = ["--users", "20", "--duration", "0.5", "--warmup", "0"]


class Capacity:
    """Answers so many requests a second, and refuses the others: a capacity that no busy machine can change much."""

    def __init__(self, per_s: float) -> None:
        self._per_s, self._credit, self._then = per_s, 1.0, time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, connection: Connection) -> None:
        while connection.request():
            connection.send(ANSWER if self._has_room() else BUSY)

    def _has_room(self) -> bool:
        with self._lock:
            now = time.monotonic()
            self._credit = min(max(1, self._per_s / 10), self._credit + (now - self._then) * self._per_s)
            self._then = now
            has_room = self._credit >= 1
            self._credit -= has_room
            return has_room


def test_a_rate_that_holds_the_objective() -> None:
    with ScriptedServer(keep_answering) as server:
        result = septet("load", server.url, "--slo", "p99<9s,errors<1%", "--rate", "40", *SHORT)
    assert result.returncode == 0, result.stderr
    assert "held: p99<9s,errors<1% at 40 requests/s" in result.stderr
    assert "latency p99" in result.stdout


def test_a_rate_that_misses_it_is_exit_status_3() -> None:
    with ScriptedServer(Capacity(10)) as server:
        result = septet("load", server.url, "--slo", "p99<9s,errors<1%", "--rate", "100", *SHORT, "--json")
    assert result.returncode == 3, result.stderr
    assert "missed: p99<9s,errors<1% at 100 requests/s: errors " in result.stderr
    told = json.loads(result.stdout)
    assert told["slo"]["held"] is False
    assert [each["outcome"] for each in told["slo"]["gauges"]] == ["missed", "missed"], "one miss alone decides nothing"


@pytest.mark.timeout(300)
def test_the_highest_rate_that_holds_it(tmp_path: Path) -> None:
    """A capacity of 100 requests/s; short gauges may use the credit of the time before them, of ten requests."""
    with ScriptedServer(Capacity(100)) as server:
        words = ["--slo", "p99<9s,errors<2%", *SHORT, "--warmup", "0.2", "--out", str(tmp_path / "out")]
        result = septet("load", server.url, *words)
    assert result.returncode == 0, result.stderr
    assert "users who each send after the answer get" in result.stderr
    told = json.loads((tmp_path / "out" / "capacity.json").read_text())
    assert 60 <= told["found"]["low"] <= 135, result.stderr
    assert told["found"]["verdict"] in result.stdout
    assert told["found"]["interval"][0] <= told["found"]["low"]
    assert "machine was" in result.stdout
    rows = list(csv.DictReader((tmp_path / "out" / "latency-over-rate.csv").read_text().splitlines()))
    assert len(rows) == len(told["gauges"])
    assert min(float(row["rate"]) for row in rows) < told["found"]["low"] / 2, "the curve begins far below the capacity"
    assert {"rate", "outcome", "p50_us", "p99_us", "errors"} <= rows[0].keys()
    drawn = ElementTree.parse(tmp_path / "out" / "latency-over-rate.svg")
    words_drawn = " ".join(drawn.getroot().itertext())
    assert "is held up to" in words_drawn
    assert {"p50", "p99", "limit"} <= set(words_drawn.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--slo", "quick"], "--slo: 'quick' is no condition such as p99<50ms"),
        (["--out", "x"], "--out: only --slo without --rate draws something"),
        (["--slo", "p99<1s", "--rate", "5", "--out", "x"], "--out: only --slo without --rate draws something"),
        (["--slo", "p99<1s", "--series", "x"], "--slo makes several"),
        (["--slo", "p99<1s", "--think", "1s"], "--think: it goes with users who send after the answer"),
    ],
)
def test_what_does_not_go_together(words: list[str], said: str, tmp_path: Path) -> None:
    result = septet_here("load", "http://127.0.0.1:1/", *words, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr


def test_nothing_listens(tmp_path: Path) -> None:
    result = septet("load", "http://127.0.0.1:1/", "--slo", "p99<1s", cwd=tmp_path)
    assert result.returncode == 1
    assert "nothing listens at http://127.0.0.1:1/" in result.stderr
