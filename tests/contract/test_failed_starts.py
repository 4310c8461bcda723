"""Starts that fail: one sentence on stderr, the right exit status, and nothing left running or listening."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.client import refuses_connections
from support.server import APP_DIR, complaints, loopback, serve

WSGI = "support.apps_wsgi:app"


def failed_start(*arguments: str, cwd: Path) -> tuple[int, str]:
    """Exit status and stderr of a `septet serve` that must not stay."""
    command = [sys.executable, "-m", "septet", "serve", "--app-dir", APP_DIR, *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert "listening" not in result.stderr
    return result.returncode, result.stderr


def assert_one_sentence(stderr: str) -> None:
    assert stderr.startswith("septet: ")
    assert len(stderr.splitlines()) == 1, stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([WSGI, "--model", "nosuch"], ["--model", "nosuch", "epoll"]),
        ([WSGI, "--bind", "127.0.0.1"], ["--bind", "127.0.0.1"]),
        ([WSGI, "--bind", "127.0.0.1:99999"], ["--bind", "99999"]),
        ([WSGI, "--model", "forking", "--workers", "2"], ["workers", "forking"]),
        ([WSGI, "--model", "threaded", "--threads", "2"], ["threads", "threaded"]),
        ([WSGI, "--workers", "0"], ["--workers", "0"]),
        ([WSGI, "--workers", "1000000"], ["--workers 1000000", "this machine"]),
        ([WSGI, "--model", "prethreaded", "--threads", "9999999"], ["--threads 9999999", "this machine"]),
        (["support.apps_wsgi:factory"], ["support.apps_wsgi:factory", "--factory"]),
        ([WSGI, "--limit-body", "many"], ["--limit-body", "many"]),
        ([WSGI, "--static", "/files=/no/such/directory"], ["--static", "/no/such/directory"]),
        ([WSGI, "--interface", "cgi"], ["--interface", "cgi"]),
        ([WSGI, "--nosuch"], ["--nosuch"]),
        ([], ["APP"]),
    ],
)
def test_bad_usage(arguments: list[str], said: list[str], tmp_path: Path) -> None:
    status, stderr = failed_start(*arguments, cwd=tmp_path)
    assert status == 2
    assert_one_sentence(stderr)
    for word in said:
        assert word in stderr


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("nosuch_module:app", "nosuch_module"),
        ("support.apps_wsgi:nosuch", "nosuch"),
        ("support.apps_wsgi:OK", "support.apps_wsgi:OK"),
        ("support.apps_wsgi", "support.apps_wsgi"),
    ],
)
def test_application_that_is_not_there(app: str, said: str, tmp_path: Path) -> None:
    status, stderr = failed_start(app, "--bind", "127.0.0.1:0", cwd=tmp_path)
    assert status in (1, 2)
    assert_one_sentence(stderr)
    assert said in stderr


BROKEN = {
    "raises": ("import middle", 'middle.py", line 2, in fail', "RuntimeError: deliberate"),
    "lacks": ("import os\nimport nosuch_library", 'lacks.py", line 2, in <module>', "No module named 'nosuch_library'"),
    "syntax": ("a = 1\nb = = 2", 'syntax.py", line 2', "SyntaxError: invalid syntax"),
    "deep": ("import syntax", 'syntax.py", line 2', "SyntaxError: invalid syntax"),
    "factory": ("import middle2\ndef app(): middle2.fail()", 'factory.py", line 2, in app', "RuntimeError: deliberate"),
    "chained": ("try: 1 / 0\nexcept Exception as e: raise ValueError('x') from e", "line 1, in", "ZeroDivisionError"),
}


@pytest.mark.parametrize(
    ("name", "workers"),
    [*((name, ()) for name in BROKEN), ("raises", ("--workers", "2")), ("raises", ("--model", "preforked"))],
)
def test_traceback_of_an_application_that_fails(name: str, workers: tuple[str, ...], tmp_path: Path) -> None:
    """The application's frames, with file and line, and none of those that lead to it; the sentence comes last."""
    (tmp_path / "middle.py").write_text("def fail():\n    raise RuntimeError('deliberate')\nfail()\n")
    (tmp_path / "middle2.py").write_text("def fail():\n    raise RuntimeError('deliberate')\n")
    (tmp_path / "syntax.py").write_text(BROKEN["syntax"][0])
    source, place, error = BROKEN[name]
    (tmp_path / f"{name}.py").write_text(source)
    arguments = [f"{name}:app", "--app-dir", str(tmp_path), "--bind", "127.0.0.1:0", *workers]
    status, stderr = failed_start(*arguments, *["--factory"] * (name == "factory"), cwd=tmp_path)
    assert status == 1
    assert place in stderr
    *_, before, last = stderr.splitlines()
    assert error in stderr
    assert last.startswith(f"septet: APP '{name}:app': ")
    assert not before.startswith("septet: ")
    assert "importlib" not in stderr
    assert "septet/" not in stderr


def test_application_that_cannot_be_imported(tmp_path: Path) -> None:
    """Its own traceback helps its author; the sentence comes last."""
    (tmp_path / "broken.py").write_text("raise RuntimeError('deliberate: broken at import')\n")
    status, stderr = failed_start("broken:app", "--app-dir", str(tmp_path), "--bind", "127.0.0.1:0", cwd=tmp_path)
    assert status == 1
    assert "deliberate: broken at import" in stderr
    assert stderr.splitlines()[-1].startswith("septet: ")
    assert not complaints(stderr)


@pytest.mark.parametrize("reuses", [False, True])
@pytest.mark.parametrize("model", ["epoll", "preforked"])
def test_application_that_closes_the_descriptors_of_the_server(model: str, reuses: bool, tmp_path: Path) -> None:
    """As a library that makes a daemon does. The pipe on which the reason is reported is among them, and its number may
    be that of a file of the application's since.
    """
    journal = tmp_path / "journal"
    source = "import os\nos.closerange(3, 256)\n"
    if reuses:
        source += "kept = open('journal', 'ab', buffering=0)\nfor each in range(4, 60): os.dup2(kept.fileno(), each)\n"
    (tmp_path / "closes.py").write_text(source + "def app(environ, start_response): ...\n")
    arguments = ["closes:app", "--app-dir", str(tmp_path), "--bind", "127.0.0.1:0", "--model", model]
    status, stderr = failed_start(*arguments, cwd=tmp_path)
    assert status == 1
    assert "has closed descriptors that it had not opened" in stderr
    assert "Traceback" not in stderr
    assert not (journal.exists() and journal.read_bytes())


@pytest.mark.parametrize("model", ["epoll", "preforked", "prethreaded"])
def test_port_in_use(model: str, tmp_path: Path) -> None:
    """The second address fails, so the first must not be served either. No model has begun by then."""
    with socket.create_server((loopback(), 0)) as other, socket.create_server((loopback(), 0)) as free:
        taken, unused = (f"{loopback()}:{listener.getsockname()[1]}" for listener in (other, free))
        address = free.getsockname()
        free.close()
        status, stderr = failed_start(WSGI, "--model", model, "--bind", unused, "--bind", taken, cwd=tmp_path)
        assert status == 1
        assert_one_sentence(stderr)
        assert taken in stderr
        assert refuses_connections(address)


def test_unix_path_of_a_living_server(tmp_path: Path) -> None:
    """Its socket is not stale; taking its file away would cut it off."""
    address = f"unix:{tmp_path / 'septet.sock'}"
    with serve("epoll", "wsgi", bind=(address,)) as server:
        status, stderr = failed_start(WSGI, "--bind", address, cwd=tmp_path)
        assert status == 1
        assert_one_sentence(stderr)
        assert server.get("/").status == 200


def test_unix_path_of_an_ordinary_file(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("not a socket")
    status, stderr = failed_start(WSGI, "--bind", f"unix:{precious}", cwd=tmp_path)
    assert status == 1
    assert_one_sentence(stderr)
    assert precious.read_text() == "not a socket"


def test_descriptor_that_is_not_open(tmp_path: Path) -> None:
    status, stderr = failed_start(WSGI, "--bind", "fd://99", cwd=tmp_path)
    assert status == 1
    assert_one_sentence(stderr)
    assert "99" in stderr


def test_directory_that_does_not_exist_for_a_unix_socket(tmp_path: Path) -> None:
    status, stderr = failed_start(WSGI, "--bind", f"unix:{tmp_path}/no/such/septet.sock", cwd=tmp_path)
    assert status == 1
    assert_one_sentence(stderr)
