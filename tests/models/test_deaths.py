"""What is said of a process that was killed, from the kernel's counts."""

import signal
from pathlib import Path

import pytest

from septet.processes.deaths import Deaths

EXITED_3 = 3 << 8


@pytest.fixture
def group(tmp_path: Path) -> Path:
    (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 4\n")
    return tmp_path


@pytest.fixture
def deaths(group: Path) -> Deaths:
    membership = group / "membership"
    membership.write_text("0::/\n")
    return Deaths(group, membership)


def test_out_of_memory_in_the_control_group(deaths: Deaths, group: Path) -> None:
    (group / "memory.events").write_text("low 0\noom 2\noom_kill 5\n")
    death = deaths.explain(1, signal.SIGKILL)
    assert death.reason == "out of memory"
    assert "a memory limit of the control group is reached" in death.text
    assert deaths.explain(2, signal.SIGKILL).reason == "signal", "the count has not risen since"


def test_exit(deaths: Deaths) -> None:
    assert deaths.explain(1, EXITED_3) == ("with status 3", "exit", "")
