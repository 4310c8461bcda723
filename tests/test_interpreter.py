"""What is said of the interpreter's global lock (the GIL), and of a module that turns it on."""

import subprocess
import sys
from pathlib import Path

import pytest

from septet.interpreter import gil_state, has_gil, is_free_threaded
from support.server import Server
from support.thoughtless import build

APPLICATION = """
import sys
{imports}
def app(environ, start_response):
    start_response("200 OK", [])
    return [str(sys._is_gil_enabled()).encode()]
"""

without_gil = pytest.mark.skipif(has_gil(), reason="this Python has a GIL in any case")


def test_models_tell_of_the_gil() -> None:
    done = subprocess.run([sys.executable, "-m", "septet", "models"], capture_output=True, text=True, check=True)
    version = ".".join(map(str, sys.version_info[:3]))
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"This Python ({version}")
    assert last.endswith(f" {gil_state()}.")
    assert "(the GIL)" in last


def test_usual_builds_have_a_gil() -> None:
    assert is_free_threaded() or has_gil()


@pytest.fixture
def thoughtless(tmp_path: Path) -> Path:
    """A directory with the module."""
    build(tmp_path)
    return tmp_path


@without_gil
@pytest.mark.parametrize("supervisor", ["--supervisor", "--no-supervisor"])
def test_module_that_turns_the_gil_on_is_named(thoughtless: Path, supervisor: str) -> None:
    (thoughtless / "shop.py").write_text(APPLICATION.format(imports="import thoughtless"))
    environment = {"PYTHONPATH": ":".join([str(thoughtless), *filter(None, sys.path)])}
    with Server("shop:app", supervisor, environment=environment) as server:
        with server.connect() as client:
            assert client.request("GET", "/").body == b"True"
        lines = [line for line in server.stderr().splitlines() if "GIL" in line or "global" in line]
    assert len(lines) == 1, lines
    assert "WARNING septet: SEP161 the module thoughtless has turned the global lock (the GIL) on" in lines[0]


@without_gil
def test_nothing_is_said_where_nothing_turns_it_on(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION.format(imports="import json"))
    environment = {"PYTHONPATH": ":".join([str(tmp_path), *filter(None, sys.path)])}
    with Server("shop:app", environment=environment) as server:
        with server.connect() as client:
            assert client.request("GET", "/").body == b"False"
        assert "GIL" not in server.stderr()
