"""The generator at its own limit: against a server that does next to nothing it is the slower one, and is told so.

How many requests that makes is for `benchmarks/ceiling.py` and a quiet machine.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from septet.lab.load import Plan, run
from septet.lab.verdicts import CLIENT_SHARE_MAX, judge
from support.made_up_results import valid

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SERVER = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
import ceiling
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
print(listener.getsockname()[1], flush=True)
ceiling.serve(listener)
"""


@pytest.fixture
def null_server() -> Iterator[tuple[str, int]]:
    """The URL and the pid of a server that does next to nothing."""
    command = [sys.executable, "-c", SERVER, str(BENCHMARKS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/", process.pid
        process.kill()


def test_load_says_so(null_server: tuple[str, int]) -> None:
    """At a rate that nobody could keep. The users are many, so that requests find a free one, late."""
    url, _ = null_server
    words = ["--rate", "1000000", "--users", "5000", "--duration", "0.2", "--warmup", "0", "--timeout", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "septet", "load", url, *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("client-limited: the load generator ")


def waited_s(path: str) -> float:
    """How long a thread has waited for a CPU that others had (proc(5), schedstat)."""
    return int(Path(path, "schedstat").read_text().split()[1]) / 1e9


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one CPU only")
def test_the_generator_is_the_limit(null_server: tuple[str, int]) -> None:
    """It is busy all the time that it and the server are given: what neither gets, the other tests here have."""
    url, pid = null_server
    waited: list[float] = []

    def hear(event: str, details: dict[str, Any]) -> None:
        if event in ("measuring", "measured"):
            waited.append(waited_s("/proc/thread-self") + waited_s(f"/proc/{pid}"))

    cpu = max(os.sched_getaffinity(0))
    figures = run(Plan(url, users=64, warmup_s=0.1, duration_s=0.5, cpus=(cpu,)), hear)
    assert figures["errors"] == {}
    client = figures["client"]
    undisturbed = client["cpu_share"] + (waited[1] - waited[0]) / figures["window_s"]
    assert undisturbed > CLIENT_SHARE_MAX
    figures["client"] = {**client, "cpu_share": undisturbed}
    assert judge({**valid("null", 64, 1.0), "load": figures}, os.cpu_count() or 1)[0] == "client-limited"
