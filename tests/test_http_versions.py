"""`--http` and `--http2-cleartext`: what is offered, and what is said where the library is lacking."""

import subprocess
import sys
from types import ModuleType

import pytest

from septet.errors import Failed
from septet.settings.http_versions import parse_versions, versions_over_tls


@pytest.mark.parametrize(
    ("http", "offered"),
    [
        ("auto", ("h2", "http/1.1")),
        ("h2,h1", ("h2", "http/1.1")),
        ("h1, h2", ("http/1.1", "h2")),
        ("h1", ("http/1.1",)),
        ("h2", ("h2",)),
    ],
)
def test_offers(http: str, offered: tuple[str, ...]) -> None:
    assert versions_over_tls(http, False) == offered


@pytest.mark.parametrize("text", ["", "h3", "h1,h1", "h2,", "auto,h2", "HTTP/2"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be auto, or h1, h2 or both, separated by a comma$"):
        parse_versions(text)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)  # type: ignore[arg-type]
    assert versions_over_tls("auto", False) == ("http/1.1",)
    cure = r", and the library h2 is not installed: pip install 'septet\[http2\]'$"
    with pytest.raises(Failed, match=r"^--http is h2,h1" + cure):
        versions_over_tls("h2,h1", False)
    with pytest.raises(Failed, match=r"^--http2-cleartext is on" + cure):
        versions_over_tls("auto", True)


def test_with_an_old_library(monkeypatch: pytest.MonkeyPatch) -> None:
    old = ModuleType("h2")
    old.__version__ = "4.1.0"  # type: ignore[attr-defined]
    old.__spec__ = sys.modules["h2"].__spec__ if "h2" in sys.modules else __spec__  # type: ignore[name-defined]
    monkeypatch.setitem(sys.modules, "h2", old)
    assert versions_over_tls("auto", False) == ("http/1.1",)
    with pytest.raises(Failed, match=r"h2 is version 4\.1\.0, but must be 4\.4\.1 or later: pip install"):
        versions_over_tls("h2", False)


@pytest.mark.parametrize("supervisor", ["--supervisor", "--no-supervisor"])
def test_start_without_the_library(supervisor: str) -> None:
    program = "import sys; sys.modules['h2'] = None; from septet.cli import main; main()"
    arguments = ["serve", "--static", "/=.", "--bind", "127.0.0.1:0", "--http2-cleartext", supervisor]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "--http2-cleartext is on, and the library h2 is not installed: pip install 'septet[http2]'" in done.stderr
    assert "Traceback" not in done.stderr
