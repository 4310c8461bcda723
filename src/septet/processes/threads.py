"""The threads of a process that serves with them, and the heap that they share."""

import ctypes
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec

from septet.errors import Failed
from septet.interpreter import has_gil
from septet.thread import ServerThread

log = logging.getLogger("septet")

Args = ParamSpec("Args")

_M_ARENA_MAX = -8  # malloc.h


class ThreadGroup:
    """Starts daemon threads, and can wait for them to end. Python itself does not wait for daemon threads when the
    process exits, so the owner of the group calls `wait`.
    """

    def __init__(self) -> None:
        self._working: set[threading.Thread] = set()

    def start_and_restart(self, run: Callable[Args, None], *args: Args.args, **kwargs: Args.kwargs) -> None:
        """Call `run` in a thread of its own; if it raises, log that and call it again in the same thread. Raises
        RuntimeError or MemoryError if the system gives no thread.
        """

        def again() -> None:
            while True:
                try:
                    run(*args, **kwargs)
                    return
                except BaseException:
                    log.exception("a thread failed, and is started again")

        self.start(again)

    def start(self, run: Callable[Args, None], *args: Args.args, **kwargs: Args.kwargs) -> None:
        """Call `run` in a thread of its own; if `run` raises, log that. Raises RuntimeError or MemoryError if the
        system gives no thread.
        """

        def work() -> None:
            try:
                run(*args, **kwargs)
            except BaseException:
                log.exception("a thread failed")
            finally:
                self._working.discard(threading.current_thread())

        thread = ServerThread(work, "septet")
        self._working.add(thread)
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            self._working.discard(thread)
            raise

    def wait(self) -> None:
        """Block until all threads have ended that were started so far."""
        for thread in list(self._working):
            thread.join()


def check_thread_start() -> None:
    """Start a thread that ends at once. Raises Failed if the system gives none, which a server that needs one should
    find out before it says that it is ready.
    """
    try:
        thread = ServerThread(int)
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise Failed(f"cannot start a thread: {error}") from None
    thread.join()


def share_heap() -> None:
    """Give all threads of this process one heap. To be called before the process has a second thread.

    glibc gives each thread that allocates a heap of its own (an arena; up to eight for each CPU, see mallopt(3)), so
    that threads do not wait for each other. Where Python's global lock lets one thread run at a time, that gains
    little, and each heap keeps the most that its thread ever needed. If any thread of a pool may get a large body, all
    heaps grow: under epoll the process had 136 MB after 200,000 mixed requests and still grew; with one heap it has a
    third of that. Without the global lock threads would wait for each other at one heap, and Python's own objects are
    in heaps of another allocator (mimalloc): then nothing is changed. A setting of MALLOC_ARENA_MAX or GLIBC_TUNABLES
    in the environment is left as it is.
    """
    if not has_gil():
        return
    if "MALLOC_ARENA_MAX" in os.environ or "glibc.malloc.arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    with suppress(AttributeError):  # another C library, as musl
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
