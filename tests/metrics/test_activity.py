"""What a supervisor says that a process does: with real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from septet.metrics.activity import Activity
from support.waiting import wait_until

COMPUTES = "while True: pass"


@contextmanager
def program(code: str) -> Iterator[int]:
    """A process that runs this code, which does not end by itself. Gives its pid."""
    with subprocess.Popen([sys.executable, "-S", "-c", code]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def said_in_time(pid: int, text: str) -> bool:
    """Look again and again, each time for a while that has just begun."""
    before = Activity.of(pid)
    assert before is not None
    wait_until(lambda: (now := Activity.of(pid)) is not None and now.at_s - before.at_s > 0.5, "time passes")
    return text in before.since(pid)


def test_process_that_waits() -> None:
    with program("import time; time.sleep(600)") as pid:
        wait_until(lambda: said_in_time(pid, "s of CPU time: it waits"), "it waits")


def test_process_that_is_stopped() -> None:
    with program(COMPUTES) as pid:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: said_in_time(pid, ": it is stopped (by SIGSTOP or"), "it is stopped")


def test_process_that_computes_and_gets_no_cpu() -> None:
    """The least important of two processes that share a CPU."""
    cpu = {min(os.sched_getaffinity(0))}
    with ExitStack() as stack:
        starved, other = (stack.enter_context(program(COMPUTES)) for _ in range(2))
        for pid in (starved, other):
            os.sched_setaffinity(pid, cpu)
        os.setpriority(os.PRIO_PROCESS, starved, 19)
        wait_until(lambda: said_in_time(starved, "it computes, but others have the CPU"), "it gets no CPU")


def test_process_that_has_ended() -> None:
    with program(COMPUTES) as pid:
        before = Activity.of(pid)
    assert before is not None
    assert before.since(pid) == ""
    assert Activity.of(pid) is None
