"""`septet serve --check`: the sentence and the status of a start, and nothing of its effects."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from support.tls import Authority
from support.users import NOBODY, python_for_all
from support.users import environment as environment_for_all

APP = """
import os, sys, threading, time

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        print("lifespan has begun", flush=True)

if os.environ.get("APP") == "raises":
    raise ValueError("deliberate")
if os.environ.get("APP") == "waits":
    threading.Thread(target=time.sleep, args=(60,)).start()
if os.environ.get("APP") == "user":
    print("imported as", os.getuid(), flush=True)
"""


@dataclass
class Done:
    status: int
    output: str
    said: str

    @property
    def last(self) -> str:
        return self.said.splitlines()[-1]


def septet(directory: Path, *arguments: str, python: str = sys.executable, **variables: str) -> Done:
    (directory / "shop.py").write_text(APP)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SEPTET_")}
    done = subprocess.run(
        [python, "-m", "septet", "serve", *arguments],
        cwd=directory,
        env=clean | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "served"),
    [
        (("shop:wsgi",), "shop:wsgi (WSGI) at http://127.0.0.1:8000 (epoll, 1 worker)"),
        (("shop:asgi", "--workers", "2"), "shop:asgi (ASGI) at http://127.0.0.1:8000 (epoll, 2 workers)"),
        (("--static", "/=."), "/=. at http://127.0.0.1:8000 (epoll, 1 worker)"),
        (
            (
                "shop:wsgi",
                "--model",
                "threaded",
                "--bind",
                "unix:a.sock?mode=660",
                "--bind",
                "fd://web",
                "--no-supervisor",
            ),
            "shop:wsgi (WSGI) at unix:{}/a.sock, fd://web (threaded, 1 worker)",
        ),
    ],
)
def test_what_would_be_served(arguments: tuple[str, ...], served: str, tmp_path: Path) -> None:
    done = septet(tmp_path, *arguments, "--check")
    assert (done.status, done.said) == (0, "")
    assert done.output == f"septet: the configuration is valid: {served.format(tmp_path)}\n"


def test_nothing_is_left(tmp_path: Path) -> None:
    """Not even by threads of the application."""
    files = ("--access-log", "access.log", "--span-log", "span.log", "--pid-file", "a.pid", "--control", "c.sock")
    places = ("--bind", "unix:a.sock", "--metrics-bind", "unix:m.sock")
    done = septet(tmp_path, "shop:asgi", "--check", *files, *places, APP="waits")
    assert done.status == 0
    assert done.output.count("\n") == 1
    assert set(os.listdir(tmp_path)) <= {"shop.py", "__pycache__"}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("shop:wsig",), 2, "shop has no attribute 'wsig'"),
        (("shop:wsgi", "--bind", "unix:no/a.sock"), 1, "a.sock (--bind): No such file or directory"),
        (("shop:wsgi", "--bind", "unix:shop.py"), 1, "a file lies there that is no socket"),
        (("shop:wsgi", "--bind", "no.such.host.invalid:80"), 1, "cannot listen at http://no.such.host.invalid:80"),
        (("shop:wsgi", "--access-log", "no/a.log"), 1, "cannot write the access log"),
        (("shop:wsgi", "--pid-file", "no/a.pid"), 1, "a.pid' cannot be written: No such file or directory"),
        (("shop:wsgi", "--control", "no/c.sock"), 1, "c.sock (--control): No such file or directory"),
        (("shop:wsgi", "--tls-certificate", "no.pem"), 2, "must be a file that can be read: No such file or directory"),
        (("shop:wsgi", "--log-config", "no.toml"), 2, "which cannot be read: No such file or directory"),
        (("shop:wsgi", "--workers", "100000000"), 2, "is too much for this machine"),
        (("--workers", "2"), 2, "there is nothing to serve"),
    ],
)
def test_mistakes_are_those_of_a_start(arguments: tuple[str, ...], status: int, said: str, tmp_path: Path) -> None:
    bind = () if "--bind" in arguments else ("--bind", "127.0.0.1:0")
    checked, served = (septet(tmp_path, *arguments, *bind, *check) for check in (("--check",), ()))
    assert (checked.status, checked.output) == (status, "")
    assert said in checked.last
    assert (served.status, _without_numbers(served.last)) == (status, _without_numbers(checked.last))


def _without_numbers(sentence: str) -> str:
    """How many processes this machine leaves changes."""
    return re.sub(r"[0-9,]+", "N", sentence)


def test_application_that_raises(tmp_path: Path) -> None:
    checked, served = (septet(tmp_path, "shop:wsgi", *check, APP="raises") for check in (("--check",), ()))
    assert (checked.status, checked.output) == (1, "")
    assert checked.said == served.said
    assert "ValueError: deliberate" in checked.said


def test_library_for_websockets_that_is_missing(tmp_path: Path) -> None:
    support = str(Path(__file__).parent.parent)
    app = "support.app_without_the_library"
    done = septet(tmp_path, f"{app}:plain", "--app-dir", support, "--check")
    why = "the library websockets is not installed (pip install 'septet[websocket]')"
    assert done.last.endswith(f"is offered no WebSockets: {why}; --ws none says that it has none")
    assert (done.status, done.said.count("\n")) == (0, 1)
    for other in ((f"{app}:plain", "--ws", "none"), ("support.apps_wsgi:app",)):
        assert septet(tmp_path, *other, "--app-dir", support, "--check").said == ""


def test_key_of_another_certificate(tmp_path: Path) -> None:
    one, two = (Authority(tmp_path / name).server for name in ("one", "two"))
    options = ("--tls-certificate", str(one.certificate), "--tls-key", str(two.key))
    done = septet(tmp_path, "shop:wsgi", *options, "--check")
    assert (done.status, done.last) == (
        2,
        f"septet: --tls-key is {str(two.key)!r}, but must be the key of the certificate {str(one.certificate)!r}",
    )
    done = septet(tmp_path, "shop:wsgi", *one.options, "--bind", "127.0.0.1:443", "--check")
    assert done.output.endswith("shop:wsgi (WSGI) at https://127.0.0.1:443 (epoll, 1 worker)\n")


def test_application_is_imported_as_the_user() -> None:
    python = python_for_all()
    with TemporaryDirectory() as name:
        directory = Path(name)
        log = directory / "private"
        log.mkdir(mode=0o700)
        options = ("--user", "nobody", "--access-log", str(log / "a.log"))
        variables = environment_for_all() | {"APP": "user"}

        def checked() -> Done:
            return septet(directory, "shop:wsgi", "--check", *options, python=python, **variables)

        assert checked().last == f"septet: --app-dir is '.', which user {NOBODY.pw_uid} (--user, --group) cannot read"
        directory.chmod(0o755)
        done = checked()
        assert (done.status, done.last) == (1, f"septet: cannot write the access log {log}/a.log: Permission denied")
        log.chmod(0o755)  # a start would make the file as root, and give it to the user
        done = checked()
        assert done.output.startswith(f"imported as {NOBODY.pw_uid}\n")
        assert done.output.endswith("shop:wsgi (WSGI) at http://127.0.0.1:8000 (epoll, 1 worker, as user nobody)\n")
        assert os.listdir(log) == []
