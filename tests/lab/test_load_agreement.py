"""Beside wrk and ab: the same server, in turns, the same figures.

Only ratios are believed, of runs that took turns, and the least CPU time of a request: a machine that is busy makes
every figure worse, and none better.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from support.needs import lacking

ROUNDS = 12  # at most
SECONDS = 1
USERS = 32
DELAY_MS = 10
USERS_OF_DELAY = 8  # few, so that none waits for another's delay
APP = """
import time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        time.sleep(0.01)
    start_response("200 OK", [("Content-Length", "13")])
    return [b"hello, world\\n"]
"""


class Run(NamedTuple):
    """What one client said of one run."""

    requests_per_s: float
    p50_ms: float
    p75_ms: float
    cpu_us: float  # of a request, user and system


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[str]:
    """A server on the first CPU: /wait is answered after 10 ms, all else at once."""
    (directory / "hello_app.py").write_text(APP)
    command = [
        sys.executable,
        "-m",
        "septet",
        "serve",
        "hello_app:app",
        "--bind",
        "127.0.0.1:0",
        "--no-supervisor",
        *options,
    ]
    with subprocess.Popen(command, cwd=directory, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        os.sched_setaffinity(process.pid, [min(os.sched_getaffinity(0))])
        match = re.search(r"http://\S+", process.stderr.readline())
        assert match is not None
        try:
            yield match[0] + "/"
        finally:
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


def ours(url: str, mode: str, users: int = USERS) -> Run:
    words = ["--users", str(users), "--duration", str(SECONDS), "--warmup", "0", "--mode", mode]
    text, _ = output(sys.executable, "-m", "septet.lab.load", url, *words)
    figures = json.loads(text.splitlines()[-1])
    assert figures["errors"] == {}
    cpu_s = figures["client"]["user_s"] + figures["client"]["system_s"]
    latency = figures["latency_us"]
    return Run(
        figures["requests_per_s"], latency["p50"] / 1000, latency["p75"] / 1000, cpu_s / figures["answers"] * 1e6
    )


def wrk(url: str, users: int = USERS) -> Run:
    text, cpu_s = output(
        shutil.which("wrk") or lacking("wrk", "wrk"), "-t1", f"-c{users}", f"-d{SECONDS}", "--latency", url
    )
    requests = int(found(r"(\d+) requests in", text))
    return Run(
        float(found(r"Requests/sec:\s+(\S+)", text)),
        milliseconds(found(r"\n\s+50%\s+(\S+)", text)),
        milliseconds(found(r"\n\s+75%\s+(\S+)", text)),
        cpu_s / requests * 1e6,
    )


def ab(url: str, users: int = USERS) -> Run:
    text, cpu_s = output(
        shutil.which("ab") or lacking("ab", "apache2-utils"),
        "-q",
        "-c",
        str(users),
        "-t",
        str(SECONDS),
        "-n",
        "1000000",
        url,
    )
    requests = int(found(r"Complete requests:\s+(\d+)", text))
    return Run(
        float(found(r"Requests per second:\s+(\S+)", text)),
        float(found(r"\n\s+50%\s+(\S+)", text)),
        float(found(r"\n\s+75%\s+(\S+)", text)),
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


def agree(ratio: float, tolerance: float) -> bool:
    return 1 / tolerance < ratio < tolerance


def best(runs: Iterable[Run]) -> Run:
    """The best of each figure: what other work on the machine does to a run is no property of the client."""
    rates, *others = zip(*runs, strict=True)
    return Run(max(rates), *map(min, others))


Agreement = Callable[[Run, Run], bool]
"""Whether the best of their runs and the best of ours agree."""


def in_turns(
    theirs: Callable[[str, int], Run], agreed: Agreement, url: str, mode: str, users: int = USERS
) -> list[Run]:
    """The best of theirs and of ours: of two rounds, or of as many as it takes on a busy machine until they agree."""
    pairs: list[tuple[Run, Run]] = []
    while len(pairs) < ROUNDS:
        pairs.append((theirs(url, users), ours(url, mode, users)))
        found = [best(runs) for runs in zip(*pairs, strict=True)]
        if len(pairs) > 1 and agreed(*found):
            return found
    raise AssertionError(pairs)


@pytest.mark.parametrize(("theirs", "mode"), [(wrk, "keep-alive"), (ab, "http10")])
def test_throughput_and_percentiles(theirs: Callable[[str, int], Run], mode: str, tmp_path: Path) -> None:
    """Where the server's delay is most of the time: of one that answers at once, the scheduler decides on both."""
    with serving(tmp_path, "--model", "prethreaded", "--threads", str(USERS_OF_DELAY)) as url:
        _, own = in_turns(theirs, alike, url + "wait", mode, USERS_OF_DELAY)
    assert own.p50_ms >= DELAY_MS


def alike(theirs: Run, own: Run) -> bool:
    return (
        agree(own.requests_per_s / theirs.requests_per_s, 1.35)
        and agree(own.p50_ms / theirs.p50_ms, 1.35)
        and agree(own.p75_ms / theirs.p75_ms, 1.5)
    )


def test_cost(tmp_path: Path) -> None:
    """1.1 of wrk's CPU time for a request, on a machine that has nothing else to do."""
    with serving(tmp_path) as url:
        in_turns(wrk, lambda theirs, own: own.cpu_us < 1.3 * theirs.cpu_us, url, "keep-alive")
