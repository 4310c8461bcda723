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
