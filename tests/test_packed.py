"""Septet where its files are not: in an archive, as zipapp makes it, and as bytecode without its source, as in the
programs of PyInstaller.
"""

import compileall
import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns, make_archive

import click
import pytest

import septet
from septet import models

PROGRAM = """
import sys, urllib.request
import septet

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]

with septet.Server(app, model=sys.argv[1]) as server:
    print(urllib.request.urlopen(server.url + "/packed").read().decode(), septet.__file__)
"""


@pytest.fixture(scope="module", params=["archive", "bytecode"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sys.path` needs so that Septet and its one dependency are found there."""
    directory = tmp_path_factory.mktemp(request.param)
    for package in (septet, click):
        source = Path(package.__file__ or "").parent
        copytree(source, directory / source.name, ignore=ignore_patterns("__pycache__", "lab", "examples"))
    if request.param == "archive":
        return Path(make_archive(str(directory), "zip", directory))
    assert compileall.compile_dir(directory, quiet=1, legacy=True)
    for file in directory.rglob("*.py"):
        file.unlink()
    return directory


def _python(path: Path, *arguments: str) -> str:
    command = [sys.executable, "-P", *arguments]
    environment = os.environ | {"PYTHONPATH": str(path)}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout


def test_models_are_known(path: Path) -> None:
    found = json.loads(_python(path, "-m", "septet", "models", "--json"))
    assert found == json.loads(json.dumps([models.describe(name) for name in models.names()]))


@pytest.mark.parametrize("model", ["epoll", "prethreaded"])
def test_serves(path: Path, model: str) -> None:
    assert _python(path, "-c", PROGRAM, model).startswith(f"/packed {path}")


def test_page_of_the_console(path: Path) -> None:
    program = "from septet.console import answers; print(answers._page().decode())"
    assert "<!doctype html>" in _python(path, "-c", program)
