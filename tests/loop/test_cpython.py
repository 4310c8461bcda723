"""CPython's own tests of asyncio (`test.test_asyncio` of the interpreter that runs this) on each of our loops.

They are the measure of "a complete asyncio loop": the same that asyncio's own loops have to pass. `cpython_suite.py`
runs them, in a process for each loop and group of modules; what fails must be listed here with its reason, and what is
listed must fail.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SUITE = Path(__file__).with_name("cpython_suite.py")

GROUPS = {
    "network": (
        ("test_events", "test_sock_lowlevel", "test_sendfile", "test_server", "test_buffered_proto", "test_streams"),
        200,
    ),
    "processes": (("test_subprocess", "test_unix_events"), 170),
    "tls": (("test_ssl", "test_sslproto"), 40),
    "tasks": (
        (
            "test_runners",
            "test_timeouts",
            "test_waitfor",
            "test_taskgroups",
            "test_locks",
            "test_queues",
            "test_pep492",
            "test_threads",
            "test_context",
        ),
        200,
    ),
}
"""Modules that make a loop through asyncio, and the least number of tests that must run in each group: fewer would
mean that they are there but do nothing. What is left out tests asyncio's classes on loops that it fakes."""

DEVIATIONS = {
    "test_runners.RunTests.test_loop_factory_default_event_loop": (
        (3, 13),
        "it asserts that asyncio's default loop is asyncio's own class, which the suite has replaced",
    ),
}
"""What fails, from which version of Python on, and why."""


@pytest.mark.skipif(
    importlib.util.find_spec("test.test_asyncio") is None,
    reason="this interpreter was installed without its tests (Debian: python3-dev has no test.test_asyncio either)",
)
@pytest.mark.parametrize("group", GROUPS)
def test_cpython_suite(backend: str, group: str) -> None:
    modules, least = GROUPS[group]
    result = suite(backend, modules)
    expected = {
        name
        for name, (version, _) in DEVIATIONS.items()
        if sys.version_info >= version and name.partition(".")[0] in modules
    }
    unexpected = {name: trace for name, trace in result["failed"].items() if name not in expected}
    assert not unexpected, "\n".join(f"== {name}\n{trace}" for name, trace in unexpected.items())
    assert set(result["failed"]) == expected, "a deviation has gone: strike it from the list"
    assert result["ran"] >= least


def suite(backend: str, modules: tuple[str, ...]) -> dict[str, Any]:
    """What the suite's process reports; it is ended when it does not end by itself."""
    command = [sys.executable, str(SUITE), backend, *modules]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-4000:]
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report
