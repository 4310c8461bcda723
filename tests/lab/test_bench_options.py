"""`septet bench` with all that it can do at once, and continued."""

import json
import re
import sys
from pathlib import Path

import pytest

from support.commands import septet, septet_here
from support.marks import draws

pytestmark = [pytest.mark.timeout(300), draws]


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


def test_bench_over_http2(tmp_path: Path, app: str) -> None:
    """Without TLS, and beside a server that does not speak it: that one fails, and the reason says so."""
    command = "python -m septet serve {app} --model poll --bind {host}:{port}"
    (tmp_path / "peers.toml").write_text(f'[peer]\npool = "threads"\ncommand = "{command}"\n')
    words = ["--models", "epoll", "--servers", "peers.toml", "--users", "6", "--repeats", "1"]
    words += ["--duration", "0.2", "--warmup", "0", "--warmup-max", "0", "--http2", "--streams", "4", "--out", "out"]
    result = septet("bench", app, *words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    recorded = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (recorded["protocol"], recorded["experiment"]["streams"]) == ("HTTP/2", 4)
    runs = {run["model"]: run for run in recorded["runs"]}
    assert runs["epoll"]["load"]["protocol"] == "HTTP/2"
    assert "--http2-cleartext" in runs["epoll"]["command"]
    assert runs["epoll"]["load"]["errors"] == {}
    assert "does not speak HTTP/2 in clear" in runs["peer"]["reason"]
    assert "HTTP/2 (4 streams on a connection)" in (tmp_path / "out" / "report.html").read_text()


def test_bench_over_http2_and_tls(tmp_path: Path, app: str) -> None:
    words = ["--models", "threaded", "--users", "3", "--repeats", "1", "--duration", "0.2", "--warmup", "0"]
    words += ["--warmup-max", "0", "--http2", "--tls", "--no-where", "--out", "out"]
    result = septet("bench", app, *words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (run,) = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert (run["load"]["protocol"], run["load"]["errors"]) == ("HTTP/2", {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--streams", "4"], "--streams: they are those of a connection of --http2"),
        (["--http2", "--close"], "--close: over HTTP/2 users keep their connections"),
        (["--http2", "--trace"], "--trace: it speaks HTTP/1.1, so not with --http2"),
        (["--http2", "--drill", "reload"], "--drill: it speaks HTTP/1.1, so not with --http2"),
        (["--http2", "--profile", "two-pages"], "--profile two-pages: its users connect anew for requests"),
    ],
)
def test_what_does_not_go_with_http2(tmp_path: Path, words: list[str], said: str) -> None:
    result = septet_here("bench", *words, cwd=tmp_path)
    assert (result.returncode, list(tmp_path.iterdir())) == (2, [])
    assert said in result.stderr
