"""Estimates how long threads of this process wait for Python's global interpreter lock (GIL), by samples.

A sampling thread sleeps until a known instant. To go on, it needs the GIL like any other thread that wants to run
Python. So the time by which it is late is the wait for the GIL and for a CPU. The kernel tells how long it waited for a
CPU (proc_pid_schedstat(5)), and that is subtracted.

Error: the kernel wakes the thread up to 0.1 ms too late, which counts as a wait for the GIL; the first bound of the
histogram, 0.25 ms, is larger. If the kernel does not tell, waits for a CPU count as well. A sample is the wait of a
thread that comes at that instant, and not the sum of all waits of a request.
"""

from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from signal import SIG_BLOCK, pthread_sigmask, valid_signals
from threading import Event, get_native_id
from time import monotonic_ns

from septet.interpreter import has_gil
from septet.metrics.lanes import GIL_WAIT, GIL_WAIT_NS, bucket
from septet.metrics.table import Table
from septet.thread import ServerThread


class GilSampler:
    """Measures how long a thread of this process waits for the GIL, again and again. One thread calls `sample` in a
    loop.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def sample(self, over: Event, after_s: float) -> bool:
        """Sleep for this many seconds, or until `over` is set, and add the time for which the GIL was then waited for
        to the process's row of the table of metrics; nothing is added if the interpreter has no GIL. Returns True if
        `over` is set.
        """
        before_ns = _waited_for_cpu_ns()
        due_ns = monotonic_ns() + int(after_s * 1e9)
        if over.wait(after_s):
            return True
        late_ns = monotonic_ns() - due_ns
        wait_ns = max(0, late_ns - (_waited_for_cpu_ns() - before_ns))
        if not has_gil():  # then there is nothing to wait for
            return False
        row = self._table.row
        row[GIL_WAIT + bucket(wait_ns)] += 1
        row[GIL_WAIT_NS] += wait_ns
        return False


def sample_beside(loop: AbstractEventLoop, table: Table, every_s: float, note: Callable[[], None]) -> None:
    """Start a thread that measures the wait for the GIL, and calls `note`, every `every_s` seconds until this loop is
    closed. For a process with an event loop: in a process without one, the thread that shows that the process is not
    stuck does both as well.
    """

    def run() -> None:
        pthread_sigmask(SIG_BLOCK, valid_signals())  # they are for the main thread
        sampler, never = GilSampler(table), Event()
        while not loop.is_closed():
            sampler.sample(never, every_s)
            note()

    with suppress(RuntimeError):  # the system gives no thread: there are no samples
        ServerThread(run, "septet-gil").start()


def _waited_for_cpu_ns() -> int:
    """Return the nanoseconds for which the calling thread was ready to run while others had the CPU; 0 if the kernel
    does not tell.
    """
    with suppress(OSError, ValueError, IndexError):
        with open(f"/proc/self/task/{get_native_id()}/schedstat", "rb") as file:
            return int(file.read().split()[1])
    return 0
