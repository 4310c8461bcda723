"""The command as a user runs it: real processes, their exit status, and the sentence on standard error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import septet
from support.commands import septet_here

MODELS = ["iterative", "forking", "preforked", "threaded", "prethreaded", "poll", "epoll", "io_uring", "interpreters"]


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SEPTET_")]:
        monkeypatch.delenv(name)


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "septet", *arguments]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=60, check=False)


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
    assert all(f"\n  {verb} " in done.stdout for verb in ("serve", "models", "bench", "load", "trace", "compare"))
    code = "import septet.cli, sys; print(*sorted(name for name in sys.modules if name.startswith('septet.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = ("septet.lab", "septet.server", "septet.session.http1", "septet.http", "septet.loop", "septet.apps")
    assert not [name for name in loaded if name.startswith(heavy)]


def test_help_of_serve_has_sections_and_defaults() -> None:
    text = run("serve", "--help").stdout
    titles = [
        "What to serve:",
        "Where to listen:",
        "TLS:",
        "Processes and threads:",
        "Limits of a request:",
        "Deadlines:",
    ]
    places = [text.index(f"\n{title}\n") for title in [*titles, "Answers and logs:", "Other options:"]]
    assert places == sorted(places)
    assert "--limit-body BYTES" in text
    assert "[default: 127.0.0.1:8000]" in " ".join(text.split())


def test_names_of_the_models() -> None:
    done = run("models", "--names")
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, MODELS, "")


def test_models_as_json() -> None:
    found = {each["name"]: each for each in json.loads(run("models", "--json").stdout)}
    assert list(found) == MODELS
    assert found["epoll"]["takes"] == ["workers", "threads"]
    assert found["forking"]["takes"] == []
    assert found["threaded"]["concurrency"] == "threads"
    assert found["iterative"]["obstacle"] is None


def test_table_of_the_models() -> None:
    done = run("models")
    table, _, lock = done.stdout.partition("\n\n")
    rows = [line.split() for line in table.splitlines() if not line.startswith(" ")]
    assert done.returncode == 0
    assert "global lock" in lock
    assert [row[0] for row in rows] == MODELS
    assert {row[1] for row in rows} <= {"yes", "no"}
    assert all(row[2:] for row in rows)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["serve"],
            "there is nothing to serve: APP (MODULE:ATTRIBUTE), --mount ROUTE=APP, --static ROUTE=DIR or "
            "several of them must be given",
        ),
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
        (["serve", "a:b", "--port", "80"], "no such option '--port' (use --bind HOST:PORT); see septet serve --help"),
        (["serve", "a:b", "-w4"], "no such option '-w' (use --workers N)"),
        (["serve", "a:b", "-k", "gevent"], "no such option '-k' (use --model; `septet models` lists them)"),
        (["serve", "a:b", "--reload-paths", "x"], "no such option '--reload-paths' (use --reload --reload-dir DIR"),
        *(
            (["serve", "a:b", option, "x"], f"no such option '{option}' ({cure}")
            for option, cure in {
                "--chdir": "change to DIR before (cd DIR); --app-dir DIR is only where",
                "--lifespan": "an ASGI application that has a lifespan gets it",
                "--name": "a process has the name of its command",
                "--header": "--server-header and --date-header are the server's own",
                "--websockets": "use --ws auto or --ws none",
                "--health": "use --metrics-bind",
                "--log-config-json": "use --log-config FILE.json",
                "-m": "use --umask MODE",
                "--pid": "use --pid-file FILE",
                "--check-config": "use --check",
                "--initgroups": "--user takes the groups of the user as well",
                "--url-path-prefix": "use --root-path /PREFIX with --root-path-kept",
                "--env-file": "set the variables before",
                "--reuse-port": "it is not needed: --workers share",
                "-c": "use --config FILE",
                "--access-logformat": "use --access-log-format",
                "-u": "use --user NAME",
                "-D": "that is for a service manager",
                "-p": "use --pid-file FILE",
                "--harakiri": "use --request-timeout SECONDS",
            }.items()
        ),
        (["serve", "a:b", "--http", "x"], "--http is 'x', but must be auto, or h1, h2 or both, separated by a comma"),
        (["serve", "a:b", "--model", "EPOLL"], "--model is 'EPOLL', but must be one of"),
        (["models", "--name"], "no such option"),
        (["shop.web:app"], "no such command 'shop.web:app' (did you mean septet serve shop.web:app?)"),
        (["brew"], "no such command 'brew'; see septet --help"),
    ],
    ids=str,
)
def test_wrong_usage_is_one_sentence_and_status_2(arguments: list[str], sentence: str) -> None:
    done = septet_here(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"septet: {sentence}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["serve"], ["bench", "--users", "0"], ["brew"]], ids=" ".join)
def test_processes_end_as_the_function_returns(arguments: list[str]) -> None:
    here, done = septet_here(*arguments), run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (here.returncode, here.stdout, here.stderr)
    assert done.returncode == 2


def test_misspelt_option_is_guessed() -> None:
    assert "--model" in run("serve", "--modle", "poll").stderr
    assert "(did you mean epoll?)" in run("serve", "a:b", "--model", "EPOLL").stderr


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


def test_what_has_no_effect_is_said_once_and_not_refused() -> None:
    """Here with a start that fails afterwards, so that nothing stays."""
    Path("shop.py").write_text("async def app(scope, receive, send): ...\n")
    arguments = ["shop:app", "--threads", "2", "--static-cache-control", "no-store", "--bind", "fd://99"]
    arguments.append("--no-supervisor")  # which loads the application before it listens
    done = run("serve", *arguments, SEPTET_WROKERS="4", SEPTET_PORT="80")
    assert done.returncode == 1
    said = [line.partition(" WARNING septet: ")[2] for line in done.stderr.splitlines()[:-1]]
    assert sorted(said) == [
        "--static-cache-control has no effect without --static",
        "--threads is 2, but under epoll an ASGI application runs on the loop: it has no effect",
        "the variable SEPTET_PORT is not an option, and has no effect (use --bind HOST:PORT)",
        "the variable SEPTET_WROKERS is not an option, and has no effect (did you mean SEPTET_WORKERS?)",
    ]


def test_factory_that_is_served_as_an_application_is_refused() -> None:
    Path("shop.py").write_text("def make_app(): ...\n")
    done = run("serve", "shop:make_app")
    assert done.returncode == 2
    assert done.stderr == (
        "septet: APP 'shop:make_app' cannot be called with (environ, start_response), as WSGI has it; "
        "it looks like a factory: give --factory\n"
    )
