"""How much there is room for: what the kernel and the control groups say, in trees made for the purpose."""

from pathlib import Path

import pytest

from septet.processes.capacity import INTERPRETER_BYTES, THREAD_BYTES, WORKER_BYTES, why_over_capacity


def room(root: Path, files: dict[str, str], group: str = "0::/a/b\n") -> tuple[Path, Path]:
    """The directories cgroup and proc."""
    files = {"proc/self/cgroup": group} | files
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "cgroup", root / "proc"


@pytest.mark.parametrize(
    ("files", "group", "most", "source"),
    [
        ({"proc/sys/kernel/pid_max": "100\n"}, "", 50, "100 that kernel.pid_max leaves"),
        ({"proc/sys/kernel/pid_max": "100\n", "proc/loadavg": "1.0 2.0 3.0 1/40 77\n"}, "", 30, "60 that kernel.pid"),
        ({"proc/sys/kernel/pid_max": "100\n", "proc/sys/kernel/threads-max": "80"}, "", 40, "kernel.threads-max"),
        ({"cgroup/a/b/pids.max": "60\n", "cgroup/a/b/pids.current": "20\n"}, "0::/a/b\n", 20, "pids.max of"),
        ({"cgroup/a/pids.max": "60\n", "cgroup/a/b/pids.max": "max\n"}, "0::/a/b\n", 30, "pids.max"),
        ({"cgroup/pids/c/pids.max": "60\n"}, "8:cpu:/\n7:hugetlb,pids:/c\n0::/\n", 30, "pids.max"),
        ({"cgroup/pids/pids.max": "60\n"}, "7:pids:/of/the/host\n", 30, "pids.max"),
    ],
)
def test_half_of_the_processes(tmp_path: Path, files: dict[str, str], group: str, most: int, source: str) -> None:
    where = room(tmp_path, files, group)
    assert why_over_capacity(most, 0, *where) is None
    assert source in (why_over_capacity(most + 1, 0, *where) or "")
    assert why_over_capacity(1, most - 1, *where) is None
    assert source in (why_over_capacity(1, most, *where) or "")


@pytest.mark.parametrize(
    ("files", "source"),
    [
        (
            {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable:   {10 * WORKER_BYTES >> 10} kB\n"},
            "the memory that is available",
        ),
        ({"cgroup/a/memory.max": f"{10 * WORKER_BYTES}\n"}, "memory.max of the control group"),
    ],
)
def test_all_of_the_memory(tmp_path: Path, files: dict[str, str], source: str) -> None:
    where = room(tmp_path, files)
    assert why_over_capacity(10, 0, *where) is None
    assert why_over_capacity(11, 0, *where) == f"idle they take 33 MB, and {source} is 30 MB"
    assert why_over_capacity(1, 9 * WORKER_BYTES // THREAD_BYTES, *where) is None
    assert why_over_capacity(1, 9 * WORKER_BYTES // THREAD_BYTES + 1, *where)


def test_memory_of_version_1(tmp_path: Path) -> None:
    files = {"cgroup/memory/c/memory.limit_in_bytes": f"{10 * WORKER_BYTES}\n"}
    where = room(tmp_path, files, "4:memory:/c\n")
    assert why_over_capacity(10, 0, *where) is None
    assert "memory.limit_in_bytes" in (why_over_capacity(11, 0, *where) or "")


@pytest.mark.parametrize("files", [{}, {"proc/loadavg": "", "proc/sys/kernel/pid_max": "?", "proc/meminfo": "x"}])
def test_nothing_known_is_no_shortfall(tmp_path: Path, files: dict[str, str]) -> None:
    assert why_over_capacity(10**6, 10, *room(tmp_path, files, "")) is None


def test_on_this_machine() -> None:
    assert why_over_capacity(1, 8) is None
    assert why_over_capacity(10**9, 0)


def test_interpreters_take_more_memory_than_threads(tmp_path: Path) -> None:
    where = room(tmp_path, {"proc/meminfo": f"MemAvailable: {(10 * INTERPRETER_BYTES + WORKER_BYTES) >> 10} kB\n"})
    assert why_over_capacity(1, 10, *where, INTERPRETER_BYTES) is None
    assert "MB" in (why_over_capacity(1, 11, *where, INTERPRETER_BYTES) or "")
    assert why_over_capacity(1, 11, *where) is None
