"""`septet bench` and `septet load` as a user runs them, against the real server."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from septet.lab import metrics, results
from support.made_up_results import failed, results_of, valid
from support.scripted_server import ANSWER, Connection, ScriptedServer, answering_status, keep_answering
from support.waiting import wait_until

RESULTS_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "results.md"
APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""


def septet(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "septet", *words], cwd=cwd, capture_output=True, text=True, timeout=100
    )


@pytest.fixture
def app(tmp_path: Path) -> str:
    """An application in `tmp_path`, of a name that no other process has on its command line."""
    name = f"app_of_{tmp_path.parent.name}_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(APP)
    return f"{name}:app"


def undocumented(recorded: dict[str, Any]) -> set[str]:
    """Keys of a results file, down to those of `load` and the like, that the pages of results and metrics lack."""
    run = recorded["runs"][0]
    parts = (recorded, run, run["load"], run["load"]["client"], run["usage"], run["stop"], run["stop"]["life"])
    page = RESULTS_PAGE.read_text() + metrics.reference()
    return {key for part in parts for key in part if f"`{key}`" not in page}


def first_words(output: str) -> list[str]:
    """Of the lines of the tables; before them there is a sentence on a machine with other things to do."""
    words = [line.split()[0] if line else "" for line in output.splitlines()]
    return words[words.index("requests/s") :]


def test_bench(tmp_path: Path, app: str) -> None:
    words = ["--models", "epoll,iterative", "--users", "8,2", "--duration", "0.3", "--warmup", "0.1", "--out", "out"]
    words += ["--repeats", "1", "--warmup-max", "0"]
    result = septet("bench", app, *words, "--serve-option", "--server-header ''", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "[4/4] iterative, 8 users: " in result.stderr
    assert first_words(result.stdout)[:3] == ["requests/s", "epoll", "iterative"]
    assert result.stdout.splitlines()[-5:] == [
        "out/results.json",
        "out/report.html",
        "out/requests-per-second.svg",
        "out/requests-per-second.png",
        "out/charts",
    ]
    recorded = json.loads((tmp_path / "out" / "results.json").read_text())
    assert recorded["finished"]
    assert recorded["command"] == ["septet", "bench", app, *words, "--serve-option", "--server-header ''"]
    assert not undocumented(recorded)
    assert {run["verdict"] for run in recorded["runs"]} <= {"valid", "noisy"}
    assert recorded["runs"][0]["command"][-2:] == ["--server-header", ""]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.json",
        "report.html",
        "requests-per-second.svg",
        "requests-per-second.png",
        "charts",
    }


def test_bench_of_the_guestbook_leaves_no_database(tmp_path: Path) -> None:
    words = [
        "--models",
        "epoll",
        "--users",
        "4",
        "--duration",
        "0.3",
        "--warmup",
        "0.1",
        "--keep-alive",
        "--repeats",
        "1",
        "--out",
        "out",
    ]
    result = septet("bench", *words, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert all(not path.name.startswith("guestbook") for path in (tmp_path / "out").iterdir())
    (cell,) = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert cell["load"]["errors"] == {}
    assert cell["load"]["expected_length"] > 500


def test_bench_of_an_application_that_is_not_there(tmp_path: Path) -> None:
    result = septet("bench", "no_such_module:app", "--models", "poll,epoll", "--out", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("septet: no_such_module:app cannot be measured: the server ended with status")
    assert "there is no module 'no_such_module'" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_bench_of_a_path_that_is_not_there(tmp_path: Path) -> None:
    result = septet("bench", "--models", "epoll", "--path", "/nothere", "--out", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == "septet: /nothere is answered with status 404; --path names what the users ask for\n"
    assert not list(tmp_path.iterdir())


def test_bench_where_all_fails(tmp_path: Path, app: str) -> None:
    words = ["--models", "epoll", "--users", "2", "--repeats", "1", "--duration", "0.5", "--out", "out"]
    result = septet("bench", app, *words, "--expect-length", "4", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "septet: every cell failed"
    assert "no request was answered" in result.stdout  # none rightly
    assert (tmp_path / "out" / "requests-per-second.png").exists()


def test_bench_with_everything(tmp_path: Path, app: str) -> None:
    """Other servers, a sweep, a scenario and repeats, resumed."""
    (tmp_path / "peers.toml").write_text(
        '[peer]\ncommand = "python -m septet serve {app} --model poll --bind {host}:{port}"\n'
    )
    (tmp_path / "scenario.toml").write_text('[[target]]\npath = "/a"\n[[target]]\npath = "/b"\nmethod = "POST"\n')
    words = ["--models", "epoll", "--servers", "peers.toml", "--sweep", "backlog=5,50", "--scenario", "scenario.toml"]
    words += ["--users", "2", "--repeats", "2", "--duration", "0.2", "--warmup", "0", "--warmup-max", "0", "--trace"]
    result = septet("bench", app, *words, "--seed", "1", "--out", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"trace: epoll: \d+ threads", result.stderr), "the main one watches, others serve"
    assert "Who runs, who waits" in (tmp_path / "out" / "report.html").read_text()
    assert first_words(result.stdout)[1:4] == ["epoll", "epoll", "peer"]
    assert "epoll backlog=50" in result.stdout
    path = tmp_path / "out" / "results.json"
    recorded = json.loads(path.read_text())
    assert len(recorded["runs"]) == 6
    assert all(run["load"]["targets"][1]["target"] == "POST /b" for run in recorded["runs"])
    recorded["runs"], recorded["finished"] = recorded["runs"][:4], None
    path.write_text(json.dumps(recorded))
    result = septet("bench", "--resume", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "[2/2]" in result.stderr
    assert len(json.loads(path.read_text())["runs"]) == 6


def test_bench_for_a_time(tmp_path: Path, app: str) -> None:
    """Every cell is visited, and the last words say what the report says."""
    words = ["--models", "epoll,threaded", "--users", "2", "--duration", "0.2", "--warmup", "0", "--warmup-max", "0"]
    result = septet("bench", app, *words, "--for", "0.001m", "--out", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    recorded = results.read(tmp_path / "out" / "results.json")
    assert recorded["ended"] == "time"
    assert recorded["experiment"]["for_s"] == 0.06
    assert len(recorded["runs"]) == 2
    assert not undocumented(recorded)
    said = "Time was up with 1 of 1 pairs of neighbours open; a longer --for may decide them."
    assert said in result.stdout
    assert said in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_bench_interrupted_keeps_what_is_finished(tmp_path: Path, app: str, number: signal.Signals) -> None:
    words = ["--models", "epoll", "--users", "1,2,3", "--repeats", "1", "--duration", "2", "--out", "out"]
    path = tmp_path / "out" / "results.json"
    with subprocess.Popen(
        [sys.executable, "-m", "septet", "bench", app, *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: path.exists() and '"model"' in path.read_text(), "one cell is finished")
        wait_until(lambda: serving(app), "the next server has started")
        process.send_signal(number)
        output, complaints = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaints.splitlines()[-1] == "septet: interrupted"
    assert "out/requests-per-second.png" in output
    recorded = json.loads(path.read_text())
    assert recorded["finished"] is None
    assert [run["users"] for run in recorded["runs"]] == [1]
    assert "to go on: septet bench --resume out" in output
    assert not serving(app)


def serving(app: str) -> bool:
    """Whether a `septet serve` of this application runs."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", name, "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "serve" in words and app in words:
            return True
    return False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "select"], "--models: 'select' is not among iterative, "),
        (["--users", "20,many"], "--users: '20,many' is not a list of whole numbers above 0"),
        (["--for", "4m", "--repeats", "3"], "--for: it repeats as often as it takes, so without --repeats"),
        (["--for", "soon"], "invalid value for '--for': 'soon' is not a time above 0"),
        (["--for", "0m"], "invalid value for '--for': '0m' is not a time above 0"),
        (["--users", "0"], "--users: '0' is not"),
        (["--users", "10000000"], "--users: 10000000 users do not fit"),
        (["--path", "guestbook"], "--path: 'guestbook' does not begin with /"),
        (["--expect-length", "few"], "--expect-length: 'few' is neither"),
        (["--duration", "0"], "--duration"),
        (["--serve-option", "'"], "--serve-option"),
        (["--duration", "nan"], "--duration"),
        (["--timeout", "inf"], "--timeout"),
        (["--serve-option", "--threads 2 --model poll"], "--serve-option: --model cannot be given"),
        (
            ["--resume", "there", "hello", "--users", "5"],
            "--resume continues with the options of the experiment, so without APP",
        ),
        (["--sweep", "workers"], "--sweep: 'workers' is not of the form"),
        (["--servers", "apache"], "--servers: 'apache' is neither a .toml file nor among gunicorn-sync, "),
        (["helo"], "APP 'helo' is neither MODULE:ATTRIBUTE nor one of hello, "),
        (["static", "--servers", "waitress"], "other servers cannot be told to serve 'static'"),
        (["--servers", "none.toml"], "--servers: none.toml cannot be read"),
        (["--scenario", "none.toml"], "the scenario none.toml cannot be read"),
        (["--profile", "ancient"], "'ancient' is not one of"),
    ],
)
def test_usage_errors_of_bench(words: list[str], said: str, tmp_path: Path) -> None:
    result = septet("bench", *words, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["--keep-alive", "--close", "--http10"])
def test_load(mode: str) -> None:
    with ScriptedServer(keep_answering) as server:
        result = septet("load", server.url, "--users", "3", "--duration", "0.3", "--warmup", "0", mode)
    assert result.returncode == 0, result.stderr
    rows = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert float(rows["requests/s"].replace(",", "")) > 10
    assert {"latency p99", "first byte p50, p99"} <= rows.keys()
    assert "latency p99.99" not in rows  # of so few answers it would say nothing


def test_load_as_json() -> None:
    with ScriptedServer(keep_answering) as server:
        result = septet("load", server.url, "--duration", "0.3", "--warmup", "0", "--header", "A: b", "--json")
    figures = json.loads(result.stdout)
    assert figures["answers"] > 10
    assert figures["plan"]["headers"] == ["A: b"]


def test_redirects_are_no_silent_success() -> None:
    with ScriptedServer(answering_status(302)) as server:
        result = septet("load", server.url, "--users", "2", "--duration", "0.3", "--warmup", "0")
    assert result.returncode == 0
    rows = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert rows["statuses"].strip().startswith("302: ")
    assert "answers were redirects, which users do not follow" in result.stderr


def test_a_rate_that_is_too_much() -> None:
    """One definition of each figure: what came in that time is what the rate is made of."""

    def slow(connection: Connection) -> None:
        while connection.request():
            time.sleep(0.02)
            connection.send(ANSWER)

    words = ["--users", "2", "--rate", "1000", "--duration", "1", "--warmup", "0", "--timeout", "1"]
    with ScriptedServer(slow) as server:
        result = septet("load", server.url, *words)
        figures = json.loads(septet("load", server.url, *words, "--json").stdout)
    assert "offered 1,000, carried " in result.stderr
    assert "requests/s: too much for this server" in result.stderr
    assert figures["requests_per_s"] == pytest.approx(figures["came"] / figures["window_s"])
    assert figures["offered_per_s"] == 1000
    assert figures["came"] <= 110


def test_a_time_out_holds_where_no_answer_ever_comes() -> None:
    """It is not waited for users to arrive whom the server does not answer."""

    def silent(connection: Connection) -> None:
        while connection.request():
            pass

    begun = time.monotonic()
    with ScriptedServer(silent) as server:
        result = septet("load", server.url, "--users", "3", "--duration", "0.5", "--timeout", "1", "--warmup", "0.5")
    assert result.returncode == 1
    assert "errors in the warm-up: time-out" in result.stdout
    assert time.monotonic() - begun < 20, "users were waited for for 30 s"


def test_https_is_said_to_lack() -> None:
    result = septet("load", "https://127.0.0.1/")
    assert result.returncode == 2
    assert "TLS is not supported yet" in result.stderr


def test_load_without_any_answer() -> None:
    with ScriptedServer(answering_status(503)) as server:
        result = septet("load", server.url, "--duration", "0.3", "--warmup", "0")
    assert result.returncode == 1
    assert "errors: status 503" in result.stdout
    assert "answered no request" in result.stderr


def test_load_of_a_port_on_which_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        result = septet("load", url, "--duration", "60")
    assert result.returncode == 1
    assert result.stderr == f"septet: nothing listens at {url}: the connection was refused\n"
    assert result.stdout == ""


def test_load_at_a_rate_of_a_scenario(tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text('[[target]]\npath = "/a"\n[[target]]\npath = "/b"\nmethod = "POST"\n')
    words = ["--rate", "100", "--duration", "0.5", "--warmup", "0.1", "--scenario", "scenario.toml"]
    with ScriptedServer(keep_answering) as server:
        result = septet("load", server.url, *words, "--body", "@scenario.toml", cwd=tmp_path)
        assert {head.split()[1] for head, _ in server.messages} == {b"/a", b"/b"}
    assert result.returncode == 0, result.stderr
    rows = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert int(rows["requests due"]) in (49, 50, 51)
    assert {"service p50, p99", "sent late p50, p99", "POST /b: answers, p50, p99"} <= rows.keys()


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "127.0.0.1", "http://nosuchhost.invalid/"])
def test_usage_errors_of_load(url: str) -> None:
    result = septet("load", url)
    assert result.returncode == 2
    assert result.stderr.startswith("septet: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cpus", "two"], "--cpus: 'two' is not a list of whole numbers"),
        (["--cpus", "4000"], "CPU 4000 is not usable here"),
        (["--body", "@none"], "--body: none cannot be read"),
        (["--scenario", "none"], "the scenario none cannot be read"),
        (["--per-connection", "2", "--close"], "go with kept connections only"),
        (["--rate", "0"], "--rate"),
    ],
)
def test_usage_errors_of_load_options(words: list[str], said: str, tmp_path: Path) -> None:
    result = septet("load", "http://127.0.0.1:1/", *words, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("verb", ["bench", "load"])
def test_help_has_examples(verb: str) -> None:
    result = septet(verb, "--help")
    assert result.returncode == 0
    assert f"  septet {verb} " in result.stdout


def test_report_draws_again(tmp_path: Path) -> None:
    """What was interrupted too, and elsewhere."""
    recorded = results_of(valid("epoll", 20, 900), valid("epoll", 100, 900), failed("poll", 20, "no answer"))
    results.write(recorded, tmp_path)
    result = septet("report", results.NAME, "--at", "20", "--out", "new/place", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "new/place/report.html"
    assert "The experiment was interrupted" in (tmp_path / "new" / "place" / "report.html").read_text()
    assert (tmp_path / "new" / "place" / "charts" / "at-20-users.svg").exists()
    result = septet("report", ".", "--at", "21", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "septet: --at: 21 is not among the numbers of users there: 20, 100\n"


def test_report_of_nothing(tmp_path: Path) -> None:
    results.write(results_of(), tmp_path)
    result = septet("report", ".", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "septet: results.json holds no runs\n")
