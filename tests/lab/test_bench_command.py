"""`septet bench` as a user runs it, against the real server."""

import json
from pathlib import Path

import pytest

from support.commands import first_words, septet, septet_here
from support.marks import draws
from support.results_pages import undocumented

pytestmark = [pytest.mark.timeout(300), draws]


def test_bench(tmp_path: Path, app: str) -> None:
    words = ["--models", "epoll,iterative", "--users", "8,2", "--duration", "0.3", "--warmup", "0.1", "--out", "out"]
    words += ["--repeats", "1", "--warmup-max", "0"]
    result = septet("bench", app, *words, "--serve-option", "--server-header ''", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "[4/4] iterative, 8 users: " in result.stderr
    assert f" of {app}; a request takes " in result.stdout
    assert "; a new connection for every request; one run of 0.3 s" in result.stdout
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
    assert recorded["where"]["skipped"] is None
    assert [(cell["model"], cell["users"]) for cell in recorded["where"]["cells"]] == [
        ("epoll", 2),
        ("iterative", 2),
        ("epoll", 8),
        ("iterative", 8),
    ]
    assert recorded["where"]["cells"][0]["command"][-4:-1] == ["--server-header", "", "--span-log"]
    assert "<h2>Where the time goes</h2>" in (tmp_path / "out" / "report.html").read_text()
    assert recorded["runs"][0]["command"][-2:] == ["--server-header", ""]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.json",
        "report.html",
        "requests-per-second.svg",
        "requests-per-second.png",
        "requests-per-second.csv",
        "charts",
    }


def test_bench_of_the_guestbook_over_tls_leaves_no_database(tmp_path: Path) -> None:
    words = ["--models", "epoll", "--users", "4", "--duration", "0.3", "--warmup", "0.1", "--warmup-max", "0"]
    words += ["--keep-alive", "--repeats", "1", "--out", "out", "--tls", "--no-where"]
    result = septet("bench", *words, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert all(not path.name.startswith("guestbook") for path in (tmp_path / "out").iterdir())
    recorded = json.loads((tmp_path / "out" / "results.json").read_text())
    assert recorded["where"] is None
    assert "Where the time goes" not in result.stderr + (tmp_path / "out" / "report.html").read_text()
    (cell,) = recorded["runs"]
    assert cell["load"]["errors"] == {}
    assert cell["load"]["expected_length"] > 500
    assert cell["load"]["plan"]["url"].startswith("https://127.0.0.1:")


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
    words = ["--models", "epoll", "--users", "2", "--repeats", "1", "--duration", "0.3", "--warmup", "0.1"]
    words += ["--out", "out"]
    result = septet("bench", app, *words, "--expect-length", "4", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "septet: every cell failed"
    assert "no request was answered" in result.stdout  # none rightly
    assert (tmp_path / "out" / "requests-per-second.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "select"], "--models: 'select' is not among iterative, "),
        (["--users", "20,many"], "--users: '20,many' is not a list of whole numbers above 0"),
        (["--for", "4m", "--repeats", "3"], "--for: it repeats as often as it takes, so without --repeats"),
        (
            ["--profile", "two-pages", "--users", "5"],
            "--profile two-pages has pages and users of its own, so without --users",
        ),
        (["--for", "soon"], "invalid value for '--for': 'soon' is not a time above 0"),
        (["--for", "4m20q"], "invalid value for '--for': '4m20q' is not a time above 0"),
        (["--for", "s"], "invalid value for '--for': 's' is not a time above 0"),
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
        (["--pool", "2x"], "--pool: '2x' is neither a number of threads"),
        (["--pool", "4", "--serve-option", "--threads 2"], "--serve-option: --threads would hold for Septet alone"),
        (["--pythons", "no-such-python"], "--pythons: 'no-such-python' is no program"),
        (["helo"], "APP 'helo' is neither MODULE:ATTRIBUTE nor one of hello, "),
        (["static", "--servers", "waitress"], "other servers cannot be told to serve 'static'"),
        (["--servers", "none.toml"], "--servers: none.toml cannot be read"),
        (["--scenario", "none.toml"], "the scenario none.toml cannot be read"),
        (["--tls", "--trace"], "--tls: it does not go with --trace"),
        (["--profile", "ancient"], "'ancient' is not one of"),
    ],
)
def test_usage_errors_of_bench(words: list[str], said: str, tmp_path: Path) -> None:
    result = septet_here("bench", *words, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
