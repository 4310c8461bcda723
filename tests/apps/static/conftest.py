"""Fixtures: a directory to be served, files beside it that must not be, and requests."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from septet.apps.static import IN_MEMORY, Static
from support.messages import pattern, render

Run = Callable[..., Any]
Get = Callable[..., Any]

MTIME = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 section 5.6.7


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory `public`, and files beside it that must not be served."""
    public = tmp_path / "public"
    files = {
        "public/a.txt": b"a text",
        "public/index.html": b"the index",
        "public/empty": b"",
        "public/sub/index.html": b"the other index",
        "public/sub/a bé.txt": b"a name",
        "public/without/a.txt": b"no index here",
        "public/large.bin": pattern(IN_MEMORY + 1),
        "public-secret/a.txt": b"secret",
        "secret.txt": b"secret",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (MTIME, MTIME))
    (public / "inside.txt").symlink_to("a.txt")
    (public / "outside.txt").symlink_to("../secret.txt")
    (public / "outside").symlink_to("..")
    (public / "loop").symlink_to("loop")
    os.mkfifo(public / "fifo")
    return tmp_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`public/one/two/a.txt`, and outside of `public` a file and a directory that look alike."""
    for directory in ("public/one/two", "outside/two"):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory / "a.txt").write_bytes(b"secret" if directory.startswith("o") else b"a text")
    return tmp_path


@pytest.fixture
def an_hour_ahead() -> Callable[[], int]:
    """A clock by which no file has changed for long, so that files are cached."""
    return lambda: time.time_ns() + 3600 * 10**9


@pytest.fixture(params=["looked up", "remembered"])
def get(run: Run, tree: Path, an_hour_ahead: Callable[[], int], request: pytest.FixtureRequest) -> Get:
    """`get(path, *fields, method="GET")` for files under /static/, uncached or cached."""
    remembers = request.param == "remembered"
    static = Static("/static/", str(tree / "public"), clock=an_hour_ahead if remembers else time.time_ns)

    def get_one(path: str, *fields: str, method: str = "GET") -> Any:
        data = render(method, path, *fields)
        first = run(static, data).answer
        return run(static, data).answer if remembers else first

    return get_one
