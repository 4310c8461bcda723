"""Beside wrk and ab, where they are installed: the same server, in turns, the same figures.

Only ratios are believed, of runs that took turns, and the least CPU time of a request: a machine that is busy makes
every figure worse, and none better.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROUNDS = 4
SECONDS = 1
USERS = 32
APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "13")])
    return [b"hello, world\\n"]
"""


class Run(NamedTuple):
    """What one client said of one run."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # of a request, user and system


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server on the first CPU."""
    (tmp_path / "hello_app.py").write_text(APP)
    command = [sys.executable, "-m", "septet", "serve", "hello_app:app", "--bind", "127.0.0.1:0"]
    first = min(os.sched_getaffinity(0))
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        os.sched_setaffinity(process.pid, [first])
        match = re.search(r"http://\S+", process.stderr.readline())
        assert match is not None
        yield match[0] + "/"
        process.terminate()


def output(*command: str) -> tuple[str, float]:
    """What a program on the last CPU writes, and the CPU seconds it took."""
    cpu = max(os.sched_getaffinity(0))
    pinned = ["taskset", "-c", str(cpu), *command]
    with subprocess.Popen(pinned, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
    assert status == 0, command
    return text, usage.ru_utime + usage.ru_stime


def ours(url: str, mode: str) -> Run:
    words = ["--users", str(USERS), "--duration", str(SECONDS), "--warmup", "0", "--mode", mode]
    text, _ = output(sys.executable, "-m", "septet.lab.load", url, *words)
    figures = json.loads(text.splitlines()[-1])
    assert figures["errors"] == {}
    cpu_s = figures["client"]["user_s"] + figures["client"]["system_s"]
    latency = figures["latency_us"]
    return Run(
        figures["requests_per_s"], latency["p50"] / 1000, latency["p99"] / 1000, cpu_s / figures["answers"] * 1e6
    )


def wrk(url: str) -> Run:
    text, cpu_s = output("wrk", "-t1", f"-c{USERS}", f"-d{SECONDS}", "--latency", url)
    requests = int(found(r"(\d+) requests in", text))
    return Run(
        float(found(r"Requests/sec:\s+(\S+)", text)),
        milliseconds(found(r"50%\s+(\S+)", text)),
        milliseconds(found(r"99%\s+(\S+)", text)),
        cpu_s / requests * 1e6,
    )


def ab(url: str) -> Run:
    text, cpu_s = output("ab", "-q", "-c", str(USERS), "-t", str(SECONDS), "-n", "1000000", url)
    requests = int(found(r"Complete requests:\s+(\d+)", text))
    return Run(
        float(found(r"Requests per second:\s+(\S+)", text)),
        float(found(r"\n\s+50%\s+(\S+)", text)),
        float(found(r"\n\s+99%\s+(\S+)", text)),
        cpu_s / requests * 1e6,
    )


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]


def milliseconds(text: str) -> float:
    for unit, factor in (("us", 1e-3), ("ms", 1.0), ("s", 1e3)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise AssertionError(text)


def agree(ratios: list[float], tolerance: float) -> bool:
    return 1 / tolerance < statistics.median(ratios) < tolerance


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
def test_beside_wrk(url: str) -> None:
    pairs = [(wrk(url), ours(url, "keep-alive")) for _ in range(ROUNDS)]
    assert agree([our.requests_per_s / their.requests_per_s for their, our in pairs], 1.3), pairs
    assert agree([our.p50_ms / their.p50_ms for their, our in pairs], 1.4), pairs
    least = [min(run.cpu_us for run in runs) for runs in zip(*pairs, strict=True)]
    assert least[1] < 1.25 * least[0], pairs  # 1.1 on a machine that has nothing else to do


@pytest.mark.skipif(not shutil.which("ab"), reason="ab (apache2-utils) is not installed")
def test_beside_ab(url: str) -> None:
    pairs = [(ab(url), ours(url, "http10")) for _ in range(ROUNDS)]
    assert agree([our.requests_per_s / their.requests_per_s for their, our in pairs], 1.3), pairs
    assert agree([(our.p50_ms + 1) / (their.p50_ms + 1) for their, our in pairs], 1.4), pairs  # ab knows whole ms only
