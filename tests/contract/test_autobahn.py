"""Autobahn's cases for WebSocket, strictly. `make autobahn` runs all of them, which takes minutes."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

#: Those that take no time: not 9 (large messages), 12 and 13 (compression), of which a few stand for all.
QUICK = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*", "9.1.1", "9.2.1", "12.1.1", "12.2.2", "13.1.1")


@pytest.mark.parametrize("model", ["threaded", "preforked", "epoll", "io_uring"])
def test_cases(model: str) -> None:
    """In a process of its own, because kosoku puts modules of its own in the place of others (pkg_resources)."""
    words = [sys.executable, "-m", "support.autobahn", model, "--cases", ",".join(QUICK)]
    done = subprocess.run(words, cwd=TESTS, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[1]) > 240, done.stdout
