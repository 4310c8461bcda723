"""Random clients, half of which misbehave; afterwards no resource may be left in use.

The long version, ten minutes for each loop, is `make soak`.
"""

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("soak.py")


def test_nothing_is_left(backend: str) -> None:
    command = [sys.executable, str(PROGRAM), "--backend", backend, "--seconds", "2", "--visits", "150"]
    soak = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert soak.returncode == 0, soak.stdout + soak.stderr
