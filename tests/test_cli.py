"""The command as a user runs it: real processes, their exit status, and the sentence on standard error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import septet

MODELS = ["iterative", "forking", "preforked", "threaded", "prethreaded", "poll", "epoll", "io_uring"]


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SEPTET_")} | variables
    command = [sys.executable, "-m", "septet", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"septet {septet.__version__}\n", "")


@pytest.mark.parametrize("verb", ["serve", "models", "bench", "load", "trace"])
def test_every_verb_has_help_with_examples(verb: str) -> None:
    done = run(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"  septet {verb}" in done.stdout


def test_help_names_every_verb_and_imports_none_of_their_work() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"\n  {verb} " in done.stdout for verb in ("serve", "models", "bench", "load", "trace"))
    code = "import septet.cli, sys; print(*sorted(name for name in sys.modules if name.startswith('septet.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = ("septet.lab", "septet.server", "septet.session", "septet.http", "septet.loop", "septet.apps")
    assert not [name for name in loaded if name.startswith(heavy)]


def test_help_of_serve_has_sections_and_defaults() -> None:
    text = run("serve", "--help").stdout
    titles = ["What to serve:", "Where to listen:", "Processes and threads:", "Limits of a request:", "Deadlines:"]
    places = [text.index(f"\n{title}\n") for title in [*titles, "Answers and logs:", "Other options:"]]
    assert places == sorted(places)
    assert "--limit-body BYTES" in text
    assert "[default: 127.0.0.1:8000]" in text


def test_names_of_the_models() -> None:
    done = run("models", "--names")
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, MODELS, "")


def test_table_of_the_models() -> None:
    done = run("models")
    rows = [line.split() for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert done.returncode == 0
    assert [row[0] for row in rows] == MODELS
    assert {row[1] for row in rows} <= {"yes", "no"}
    assert all(row[2:] for row in rows)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["serve"], "there is nothing to serve: APP (MODULE:ATTRIBUTE), --static ROUTE=DIR or both must be given"),
        (["serve", "a:b", "--workers", "two"], "--workers is 'two', but must be a whole number from 1"),
        (["serve", "a:b", "--limit-body=-1"], "--limit-body is -1, but must be a whole number of bytes from 0"),
        (["serve", "shop"], "APP is 'shop', but must be MODULE:ATTRIBUTE, such as shop.web:app"),
        (["serve", "a:b", "--workers"], "option '--workers' requires an argument"),
        (["serve", "a:b", "c:d"], "got unexpected extra argument (c:d); see septet serve --help"),
        (["serve", "a:b", "--config", "no.toml"], "--config is 'no.toml', but must be a file that exists"),
        (
            ["serve", "a:b", "--model", "forking", "--workers", "2"],
            "--workers is 2, but must be left out with the model",
        ),
        (["models", "--name"], "no such option"),
        (["report-all"], "no such command 'report-all'; see septet --help"),
    ],
    ids=str,
)
def test_wrong_usage_is_one_sentence_and_status_2(arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"septet: {sentence}")
    assert done.stderr.count("\n") == 1


def test_misspelt_option_is_guessed() -> None:
    assert "--model" in run("serve", "--modle", "poll").stderr


def test_no_verb_is_wrong_usage_with_the_help() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: septet")


def test_wrong_variable_and_wrong_file() -> None:
    assert run("serve", "a:b", SEPTET_BACKLOG="many").stderr.startswith("septet: SEPTET_BACKLOG is 'many', but must be")
    Path("septet.toml").write_text("backlog = 'many'\n")
    assert run("serve", "a:b").stderr.startswith("septet: septet.toml:1: backlog is 'many', but must be")


def test_print_config_needs_no_application_and_tells_the_sources() -> None:
    Path("septet.toml").write_text("backlog = 5\n")
    arguments = ["--print-config", "--bind", "[::1]:0", "--bind", "unix:x", "--no-factory", "--server-header", ""]
    done = run("serve", *arguments, SEPTET_LIMIT_BODY="7", SEPTET_FACTORY="1")
    told = {tuple(line.split(maxsplit=2)[::2]) for line in done.stdout.splitlines() if " = " in line}
    values = {name: " ".join(rest.split()) for name, rest in told}
    assert (done.returncode, done.stderr) == (0, "")
    assert values["bind"] == '["[::1]:0", "unix:x"] # command line'
    assert values["factory"] == "false # command line"
    assert values["server_header"] == '"" # command line'
    assert values["limit_body"] == "7 # SEPTET_LIMIT_BODY"
    assert values["backlog"] == "5 # septet.toml:1"
    assert values["model"] == '"epoll" # default'


def test_printed_config_is_a_file_that_means_the_same() -> None:
    done = run("serve", "shop.web:app", "--print-config", "--threads", "3", "--access-log", "a#\"'\\é.log")
    assert done.returncode == 0, done.stderr
    first = done.stdout
    Path("other.toml").write_text(first, "utf-8")
    second = run("serve", "--print-config", SEPTET_CONFIG="other.toml").stdout

    def values(text: str) -> list[str]:
        return [line.rpartition("#")[0] if " = " in line else line for line in text.splitlines()]

    assert values(second) == values(first)
    assert 'app = "shop.web:app"' in second
