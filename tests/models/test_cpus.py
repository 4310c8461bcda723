"""How many CPUs may be used: what cgroups(7) and the affinity mask say, in trees made for the purpose."""

import os
from pathlib import Path

import pytest

from septet.cgroups import cpu_quota
from septet.processes import capacity as cpus_module
from septet.processes.capacity import usable_cpus


def tree(root: Path, files: dict[str, str], group: str = "/") -> float | None:
    """CPUs by these files, for a process in `group`."""
    for name, text in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "self").write_text(f"12:cpu:/elsewhere\n0::{group}\n")
    return cpu_quota(root / "cgroup", root / "self")


@pytest.mark.parametrize(
    ("files", "group", "cpus"),
    [
        ({}, "/", None),
        ({"cpu.max": "max 100000\n"}, "/", None),
        ({"cpu.max": "200000 100000\n"}, "/", 2.0),
        ({"cpu.max": "50000 100000\n"}, "/", 0.5),
        ({"a/b/cpu.max": "150000 100000\n"}, "/a/b", 1.5),
        ({"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "max 100000\n"}, "/a/b", 1.5),
        ({"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "300000 100000\n"}, "/a/b", 1.0),
        ({"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "100000 50000\n"}, "/a/b", 2.0),
        ({"other/cpu.max": "100000 100000\n"}, "/a/b", None),
        ({"a/cpu.max": "100000 100000\n"}, "/a/gone", 1.0),
        ({"cpu.max": "nonsense"}, "/", None),
        ({"cpu.max": ""}, "/", None),
        ({"cpu.max": "100000 0\n"}, "/", None),
        ({"cpu.max": "200000 100000\n"}, "/../outside", 2.0),
    ],
)
def test_version_2(tmp_path: Path, files: dict[str, str], group: str, cpus: float | None) -> None:
    """The narrowest of the group's own limit and of those around it."""
    assert tree(tmp_path, files, group) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("-1", None), ("150000", 1.5), ("", None)])
def test_version_1(tmp_path: Path, quota: str, cpus: float | None) -> None:
    files = {"cpu/cpu.cfs_quota_us": f"{quota}\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert tree(tmp_path, files) == cpus


def test_no_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "none", tmp_path / "none") is None


@pytest.mark.parametrize(
    ("bound", "quota", "cpus"),
    [(8, None, 8), (8, 2.0, 2), (8, 1.5, 2), (8, 0.1, 1), (1, 4.0, 1)],
)
def test_usable_cpus(monkeypatch: pytest.MonkeyPatch, bound: int, quota: float | None, cpus: int) -> None:
    """Part of a CPU counts as one: a worker that is throttled is better than none."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(bound)))
    monkeypatch.setattr(cpus_module, "cpu_quota", lambda: quota)
    assert usable_cpus() == cpus


def test_usable_cpus_of_this_machine() -> None:
    mask = os.sched_getaffinity(0)
    assert 1 <= usable_cpus() <= len(mask)
    os.sched_setaffinity(0, {min(mask)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, mask)
