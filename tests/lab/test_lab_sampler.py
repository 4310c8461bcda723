"""The sampler on real processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from septet.lab.proc import machine_times, processes_of, pss_bytes
from septet.lab.sampler import Sampler
from support.waiting import wait_until

# Waits for a line, then lets a child burn CPU, waits for it, and says so; another child lives on.
FAMILY = """
import os, sys, threading, time
sleeper = os.fork()
if not sleeper:
    time.sleep(60)
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("ready", flush=True)
sys.stdin.readline()
child = os.fork()
if not child:
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    os._exit(0)
os.waitpid(child, 0)
print("burnt", flush=True)
sys.stdin.readline()
os.kill(sleeper, 9)
os.waitpid(sleeper, 0)
os._exit(0)
"""


@contextmanager
def family() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", FAMILY]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process


def exchange(process: subprocess.Popen[str], expected: str, send: str | None = None) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    if send is not None:
        process.stdin.write(send)
        process.stdin.flush()
    assert process.stdout.readline() == expected


def test_processes_and_threads_of_a_session() -> None:
    with family() as process:
        exchange(process, "ready\n")
        found = processes_of(process.pid)
        assert len(found) == 2
        assert all(each.alive for each in found)
        assert sorted(each.threads for each in found) == [1, 2]
        pss = pss_bytes(found)
        assert pss is not None
        assert 1_000_000 < pss < sum(each.rss_bytes for each in found)
        exchange(process, "burnt\n", "\n")
        exchange(process, "", "\n")
    assert processes_of(process.pid) == []
    assert pss_bytes([]) is None


def test_cpu_time_of_children_that_ended_counts() -> None:
    with family() as process:
        exchange(process, "ready\n")
        sampler = Sampler(process.pid)
        sampler.start()
        exchange(process, "burnt\n", "\n")
        wait_until(lambda: sampler.usage["pss_bytes"], "the sampler has read the memory")
        usage = sampler.stop()
        exchange(process, "", "\n")
    assert usage["user_s"] + usage["system_s"] == pytest.approx(0.3, abs=0.1)
    assert usage["processes"] in (2, 3)
    assert usage["threads"] in (3, 4)
    assert usage["machine_busy_s"] >= 0.2


def test_machine_times_only_grow() -> None:
    before = machine_times()
    wait_until(lambda: machine_times()[0] > before[0], "some CPU time has passed")
    assert machine_times()[1] >= before[1]


def test_cpu_time_is_in_nanoseconds_and_keeps_that_of_ended_threads() -> None:
    """Also of a thread that has ended; ticks of 10 ms are left for children that have ended."""
    burning = (
        "import threading, time, sys\n"
        "def burn(end):\n"
        "    while time.thread_time() < end: pass\n"
        "thread = threading.Thread(target=burn, args=(0.05,)); thread.start(); thread.join()\n"
        "print(time.process_time(), flush=True)\n"
        "sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", burning]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        said_s = float(process.stdout.readline())
        (found,) = processes_of(process.pid)
        process.kill()
    assert said_s <= found.cpu_s < said_s + 0.005
    assert found.cpu_s * 100 % 1, "no whole number of ticks"
    assert found.cpu_grain_s == 0


def test_ended_children_make_a_grain() -> None:
    with family() as process:
        exchange(process, "ready\n")
        exchange(process, "burnt\n", "go\n")
        parent = next(each for each in processes_of(process.pid) if each.pid == process.pid)
        exchange(process, "", "end\n")
    assert parent.cpu_s > 0.29
    assert parent.cpu_grain_s == pytest.approx(0.02)


# Lets a child burn less than a tick of 10 ms; it ends, and is waited for, at the next line.
BRIEF = """
import os, sys, time
end, waiting = os.pipe()
child = os.fork()
if not child:
    until = time.process_time() + 0.006
    while time.process_time() < until:
        pass
    print("burnt", flush=True)
    os.close(waiting)
    os.read(end, 1)
    os._exit(0)
sys.stdin.readline()
os.close(waiting)
os.waitpid(child, 0)
print("ended", flush=True)
sys.stdin.readline()
"""


def test_no_time_is_given_back() -> None:
    """The time of a child that ends is cut off at a whole tick: the sum becomes less, and what was used does not."""
    command = [sys.executable, "-c", BRIEF]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        exchange(process, "burnt\n")
        before_s = sum(each.cpu_s for each in processes_of(process.pid))
        sampler = Sampler(process.pid)
        sampler.start()
        exchange(process, "ended\n", "\n")
        assert sum(each.cpu_s for each in processes_of(process.pid)) < before_s
        assert sampler.stop()["cpu_s"] == 0
        process.communicate("\n")
