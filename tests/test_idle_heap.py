"""Free memory in the middle of the heap goes back to the system when a process rests, and not while it works."""

import subprocess
import sys

PROGRAM = """
import os, time
from septet.processes.idle_heap import REST_CPU_S, WORK_CPU_S, IdleHeap

def private_mb():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_")) // 1024

def work(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass

blocks = [bytearray(b"x" * 100_000) for _ in range(300)]  # too small to be mapped, so they are in the heap
heap = IdleHeap()
del blocks[:-1]  # the last one keeps the top of the heap from being given back
found = [private_mb()]
heap.check()  # it has not worked
found.append(private_mb())
work(WORK_CPU_S + REST_CPU_S)
heap.check()  # it has worked until now
found.append(private_mb())
heap.check()  # it rests
found.append(private_mb())
print(*found)
"""


def test_memory_is_given_back_at_rest() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, without_work, at_work, at_rest = map(int, done.stdout.split())
    assert min(without_work, at_work) > before - 5
    assert at_rest < before - 20
