"""`septet bench` with all that it can do at once, and continued."""

import json
import re
import sys
from pathlib import Path

import pytest

from support.commands import septet

pytestmark = pytest.mark.timeout(300)  # pictures are drawn


def test_bench_with_everything(tmp_path: Path, app: str) -> None:
    """Other servers with the same pool, an interpreter, a sweep and a scenario, resumed."""
    command = "python -m septet serve {app} --model poll --threads {threads} --bind {host}:{port}"
    (tmp_path / "peers.toml").write_text(f'[peer]\npool = "threads"\ncommand = "{command}"\n')
    (tmp_path / "scenario.toml").write_text('[[target]]\npath = "/a"\n[[target]]\npath = "/b"\nmethod = "POST"\n')
    words = ["--models", "epoll", "--servers", "peers.toml", "--sweep", "backlog=5,50", "--scenario", "scenario.toml"]
    words += ["--pool", "3", "--pythons", sys.executable]
    words += ["--users", "2", "--repeats", "1", "--duration", "0.2", "--warmup", "0", "--warmup-max", "0", "--trace"]
    result = septet("bench", app, *words, "--seed", "1", "--out", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"trace: epoll: \d+ threads", result.stderr), "the main one watches, others serve"
    assert "Who runs, who waits" in (tmp_path / "out" / "report.html").read_text()
    told = "The same pool for all, 3 requests at a time: epoll, peer: 3 threads."
    assert result.stdout.index(told) < result.stdout.index("requests/s"), "above the table"
    assert re.search(r"^epoll python=\S+ backlog=50", result.stdout, re.MULTILINE)
    assert "Beside peer, at 2 users:" in result.stdout
    page = (tmp_path / "out" / "report.html").read_text()
    assert told in page
    assert "Beside peer" in page
    path = tmp_path / "out" / "results.json"
    recorded = json.loads(path.read_text())
    assert len(recorded["runs"]) == 3
    assert {run["command"][run["command"].index("--threads") + 1] for run in recorded["runs"]} == {"3"}
    assert all(run["load"]["targets"][1]["target"] == "POST /b" for run in recorded["runs"])
    recorded["runs"], recorded["finished"] = recorded["runs"][:2], None
    path.write_text(json.dumps(recorded))
    result = septet("bench", "--resume", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "[1/1]" in result.stderr
    assert len(json.loads(path.read_text())["runs"]) == 3
