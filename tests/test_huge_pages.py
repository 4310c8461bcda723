"""Memory in huge pages, in processes of their own; and what happens where there are none."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from septet.processes import huge_pages

SETTING = Path(f"{huge_pages._SETTINGS}/enabled")

HELD = """
from septet.processes.huge_pages import use_huge_pages

def huge_kib():
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("AnonHugePages"))

held = [bytes(100_000) + b"." for _ in range(120)]  # 12 MB of one heap
before = huge_kib()
use_huge_pages()
assert all(each == bytes(100_000) + b"." for each in held)
print(huge_kib() - before)
"""


@pytest.mark.skipif(not SETTING.exists() or "[never]" in SETTING.read_text(), reason="the system has no huge pages")
def test_memory_moves_to_huge_pages() -> None:
    result = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True, timeout=30)
    release = platform.release().split(".")
    assert int(result.stdout) >= 6144 or (int(release[0]), int(release[1])) < (6, 1)


def test_they_can_be_turned_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "_SETTINGS", str(tmp_path))
    huge_pages.use_huge_pages()  # there is no such file
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    huge_pages.use_huge_pages()  # does not look for the size
