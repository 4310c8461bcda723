"""The end of the application's processes of multiprocessing, as far as Python answers for them.

The processes of a ProcessPoolExecutor wait for work on a pipe whose writing end they hold themselves. Unless they are
told to end, they wait for ever, with all their memory and a copy of standard output. At the end of a program Python
finishes the executor's jobs and then tells them. A process that ends by os._exit must see to that itself: it lets the
jobs come to their end (`finish_jobs`), and where there is no more time for that, it ends the processes
(`end_processes`). Daemonic processes, which Python ends with their parent, are ended, too. Other processes are the
application's own affair, and go on.

`concurrent.futures` has no public list of executors. If a later Python has other private names, none is found here.
"""

import os
import sys
from contextlib import suppress
from typing import Any


def _managers() -> list[Any]:
    """Return the thread of each ProcessPoolExecutor in this process that still has processes. Such a thread lives as
    long as these; it is not alive in a forked process, whose parent has the executor.
    """
    module = sys.modules.get("concurrent.futures.process")
    with suppress(Exception):  # a thread has just made one, or the names mean something else by now
        return [thread for thread in list(getattr(module, "_threads_wakeups", ())) if thread.is_alive()]
    return []


def have_jobs() -> bool:
    """True if a ProcessPoolExecutor of this process has not ended."""
    return bool(_managers())


def finish_jobs() -> None:
    """Shut down each ProcessPoolExecutor of this process, and wait until its jobs are done and its processes have
    ended. Does not raise.
    """
    for thread in _managers():
        with suppress(Exception):
            executor = thread.executor_reference()
            if executor is not None:  # else the application has freed it, and it ends when its jobs are done
                executor.shutdown()
        thread.join()


def end_processes() -> None:
    """Send TERM to the processes of each ProcessPoolExecutor, and to daemonic processes, of this process. For one that
    is about to end by os._exit; may be called in a signal handler, and in any thread. Does not raise.
    """
    module = sys.modules.get("multiprocessing.process")
    if module is None:
        return
    with suppress(Exception):
        processes = [process for process in list(getattr(module, "_children", ())) if process.daemon]
        for thread in _managers():
            processes += getattr(thread, "processes", {}).values()
        for process in processes:
            if process._parent_pid == os.getpid():
                with suppress(Exception):
                    process.terminate()
