"""What the tests of several commands need: an application to measure."""

from pathlib import Path

import pytest

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""


@pytest.fixture
def app(tmp_path: Path) -> str:
    """An application in `tmp_path`, of a name that no other process has on its command line."""
    name = f"app_of_{tmp_path.parent.name}_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(APP)
    return f"{name}:app"
