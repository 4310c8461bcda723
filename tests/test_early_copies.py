"""Pages that are copied at the fork, in processes of their own; and what happens where io_uring is not to be had."""

import subprocess
import sys

import pytest

from support.models import refusal

PAGES = 500

SERVED = f"""
import os
import resource
from septet.processes.early_copies import CHILDREN, EarlyCopies

cells = [bytearray(4096) for _ in range({PAGES})]

def write():
    for cell in cells:
        cell[0] += 1

def faults_of_a_child():
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    child = os.fork()
    if not child:
        write()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        copies.note()
        os._exit(cells[-1][0])
    _, status = os.waitpid(child, 0)
    seen.append(os.waitstatus_to_exitcode(status))
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before

def descriptors():
    return len(os.listdir("/proc/self/fd"))

seen = []
copies = EarlyCopies()
before = descriptors()
"""

PINNED = """
first = [faults_of_a_child() for _ in range(CHILDREN)][0]
copies.pin_what_is_known()
last = faults_of_a_child()
write()
faults_of_a_child()
assert not any(cell[0] != 1 for cell in cells)
assert seen == [1] * (CHILDREN + 1) + [2], seen
assert descriptors() == before + 1
copies.close_in_child()
assert descriptors() == before
print(first - last)
"""

REFUSED = """
for _ in range(CHILDREN):
    faults_of_a_child()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
copies.pin_what_is_known()
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
assert descriptors() == before
faults_of_a_child()
assert seen == [1] * (CHILDREN + 1), seen
"""


def run(code: str) -> str:
    command = [sys.executable, "-c", SERVED + code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.skipif(refusal("io_uring") is not None, reason="io_uring cannot be used here")
def test_a_child_has_copies_of_what_children_write_to() -> None:
    assert int(run(PINNED)) > 0.8 * PAGES


def test_nothing_changes_without_descriptors() -> None:
    run(REFUSED)
