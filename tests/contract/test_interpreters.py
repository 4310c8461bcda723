"""What is peculiar to the model `interpreters`: what they share, what Python allows in them, and how they end."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from septet.errors import Failed
from septet.isolated import explained
from septet.processes.orders import STARTING_GRACE_S
from support.client import Connection, connections
from support.messages import render
from support.models import interpreters_refusal
from support.processes import children
from support.server import APP_DIR, Server, serve
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(interpreters_refusal() is not None, reason=str(interpreters_refusal()))

APP = "support.app_isolated:app"

REFUSING = next((name for name in ("_testcapi", "_curses", "readline") if find_spec(name)), None)
"""A module of the standard library in C that may be loaded in the main interpreter alone."""


def serve_isolated(*options: str, **settings: Any) -> Server:
    return serve("interpreters", "wsgi", *options, app=APP, **settings)


def test_each_has_an_application_of_its_own_and_serves_a_client_at_a_time() -> None:
    with serve_isolated("--threads", "3") as server, connections(server.address, 3) as clients:
        for client in clients:
            client.send(render("GET", "/wait"))
        wait_until(lambda: server.journal.count("at gate isolated") == 3, "three are inside at the same time")
        server.journal.open_gate("isolated")
        told = [json.loads(client.read_response().body) for client in clients]
        assert [one["calls"] for one in told] == [1, 1, 1], "a variable of the application's module"
        assert {(one["multithread"], one["multiprocess"]) for one in told} == {(False, True)}


def test_what_is_allowed() -> None:
    with serve_isolated() as server:
        assert json.loads(server.get("/allowed").body)["allowed"] == {
            "fork": "RuntimeError",
            "signal": "ValueError",
            "thread": "done",
            "program": "done",
        }


LIBRARY = """
try:
    import {}
except ImportError as error:
    raise ImportError("\\n\\nIMPORTANT: PLEASE READ THIS\\n\\n" * 9 + f"Original error was: {{error}}") from error
"""
"""A library that says in many lines why its extension module cannot be imported, as NumPy does."""


@pytest.mark.skipif(REFUSING is None, reason="this Python has no such module")
@pytest.mark.parametrize("options", [["--supervisor"], ["--no-supervisor"], ["--workers", "2"]], ids=" ".join)
def test_a_module_that_refuses_is_named_in_one_sentence(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "figures.py").write_text(LIBRARY.format(REFUSING))
    (tmp_path / "shop.py").write_text("import figures\nfrom support.app_isolated import app\n")
    command = [sys.executable, "-m", "septet", "serve", "shop:app", "--model", "interpreters", *options]
    path = os.pathsep.join([APP_DIR, os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"SEPTET_BIND": "127.0.0.1:0", "PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"septet: SEP162 the extension module {REFUSING} cannot be loaded in an interpreter beside the main one, as "
        f"the model interpreters does (imported at {tmp_path}/figures.py, line 5); choose another model, such as "
        "preforked, or do without the module"
    )  # before it another worker may say that it has not started in time


def test_the_line_of_the_application_is_named_and_not_those_of_libraries() -> None:
    library = os.path.join(sysconfig.get_path("purelib"), "figures", "__init__.py")
    traceback = (
        f'Traceback (most recent call last):\n  File "{library}", line 7, in <module>\n    import _figures\n'
        "ImportError: module _figures does not support loading in subinterpreters\n\n"
        "The above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n"
        '  File "/srv/shop/__init__.py", line 1, in <module>\n    import shop.views\n'
        '  File "/srv/shop/views.py", line 3, in <module>\n    import figures\n'
        f'  File "{library}", line 9, in <module>\nImportError: read this\n'
    )
    found = explained(Failed("importing failed", traceback))
    assert "does (imported at /srv/shop/views.py, line 3); choose" in str(found)
    assert "does; choose" in str(explained(Failed("module _figures does not support loading in subinterpreters")))


EACH_WAY = pytest.mark.parametrize(
    "options", [["--no-supervisor"], ["--supervisor"], ["--workers", "1"]], ids=lambda options: " ".join(options)
)


@EACH_WAY
def test_stop_while_others_are_made(options: list[str]) -> None:
    """The first one serves already: what it has in flight is answered; the one that is starting is not waited for."""
    settings: dict[str, Any] = {"environment": {"ISOLATED_SECOND_WAITS": "yes"}, "bind": ("unix:here",)}
    with serve_isolated("--threads", "2", *options, wait_ready=False, **settings) as server:
        server.journal.wait_for("at gate import")
        with Connection(str(server.directory / "here")) as client:
            client.send(render("GET", "/wait"))
            server.journal.wait_for("at gate isolated")
            server.send_signal(signal.SIGTERM)
            time.sleep(2 * STARTING_GRACE_S)  # longer than is given to a server that has no requests yet
            server.journal.open_gate("isolated")
            assert client.read_response().status == 200
        assert server.wait() == 0
        assert "SEP12" not in server.stderr()


def test_relative_paths_are_those_of_the_start(tmp_path: Path) -> None:
    """The first interpreter's application changes the working directory, which is that of all."""
    (tmp_path / "shop.py").write_text("import os\nfrom support.app_isolated import app\nos.chdir('/')\n")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("here")
    command = Server("shop:app", "--model", "interpreters", "--threads", "2", "--static", "/files=files")
    command.command = [sys.executable, "-c", _IN.format(tmp_path), *command.command[1:]]
    command.command += ["--app-dir", "."]
    with command as server, connections(server.address, 2) as clients:
        for client in clients:
            client.send(render("GET", "/wait"))
        wait_until(lambda: server.journal.count("at gate isolated") == 2, "both serve")
        server.journal.open_gate("isolated")
        for client in clients:
            assert client.read_response().status == 200
            assert client.request("GET", "/files/a.txt").body == b"here"


_IN = (
    f"import os, sys; os.chdir('{{}}'); os.environ['PYTHONPATH'] = {APP_DIR!r} + os.pathsep + "
    "os.environ.get('PYTHONPATH', ''); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def test_a_crash_ends_the_process_and_the_supervisor_begins_another() -> None:
    with serve("interpreters", "wsgi", "--supervisor", app=APP) as server:
        (before,) = children(server.pid)
        os.kill(before.pid, signal.SIGKILL)
        wait_until(lambda: [each for each in children(server.pid) if each != before], "there is another")
        wait_until(lambda: "generation 2" in server.stderr() and server.get("/").status == 200, "it serves")


def test_an_application_object_is_refused(tmp_path: Path) -> None:
    code = (
        "import septet\n"
        "try: septet.run(lambda environ, start_response: [], model='interpreters')\n"
        "except septet.UsageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout.startswith("model is 'interpreters', but must be another one in a program")
