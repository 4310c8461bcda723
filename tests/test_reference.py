"""The reference page of the options: complete, and written where the documentation wants it."""

import subprocess
import sys
from pathlib import Path

from septet.settings.config import OPTIONS
from septet.settings.reference import page


def test_every_option_is_on_the_page() -> None:
    text = page()
    for option in OPTIONS:
        assert f"### `{option.flag}" in text
        assert f"\n{option.help}\n" in text
        assert f"- allowed: {option.allowed()}\n" in text
        assert f"- variable: `{option.variable}`\n" in text
        assert f"- key: `{option.name}`\n" in text


def test_module_writes_the_page(tmp_path: Path) -> None:
    target = tmp_path / "reference" / "options.md"
    subprocess.run([sys.executable, "-m", "septet.settings.reference", str(target)], check=True)
    assert target.read_text("utf-8") == page()


def test_module_writes_no_file_for_an_option(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "septet.settings.reference", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr == "usage: python -m septet.settings.reference FILE\n"
    assert not list(tmp_path.iterdir())


def test_defaults_are_as_they_are_written() -> None:
    """OpenSSL's names of ciphers have capitals."""
    assert "- default: `ECDHE+AESGCM:ECDHE+CHACHA20`\n" in page()
    assert "- default: `false`\n" in page()
