"""A thread of the server: its start returns, whatever becomes of the new thread; in all else it is Python's."""

import os
import subprocess
import sys
import threading
from typing import Any, NoReturn

import pytest

from septet.thread import ServerThread

UNDER_WANT = """
import os, resource, sys, threading
from septet.thread import ServerThread

threading.stack_size(64 * 1024)
sys.unraisablehook = lambda unraisable: None
over = threading.Event()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {more}, used + {more}))
begun = 0
for _ in range(40):
    try:
        ServerThread(over.wait).start()
        begun += 1
    except (RuntimeError, MemoryError):
        pass
listed = threading.active_count() - 1
over.set()
os._exit(0 if listed <= begun else 1)
"""


def test_is_a_thread() -> None:
    seen: list[Any] = []
    thread = ServerThread(lambda *args: seen.extend((threading.current_thread(), args)), "ours", (1, 2))
    assert not thread.is_alive()
    with pytest.raises(RuntimeError):
        thread.join()
    thread.start()
    thread.join()
    assert seen == [thread, (1, 2)]
    assert not thread.is_alive()
    assert (thread.name, thread.daemon) == ("ours", True)
    assert thread not in threading.enumerate()
    with pytest.raises(RuntimeError, match="once"):
        thread.start()


def test_is_listed_while_it_runs() -> None:
    over = threading.Event()
    thread = ServerThread(over.wait, "ours")
    thread.start()
    assert thread.is_alive()
    assert thread in threading.enumerate()
    assert thread.ident is not None
    assert thread.native_id is not None
    over.set()
    thread.join()


def test_exception_goes_to_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append((args.exc_type, args.thread)))
    thread = ServerThread(lambda: 1 / 0)
    thread.start()
    thread.join()
    assert raised == [(ZeroDivisionError, thread)]


@pytest.mark.parametrize("where", ["_bootstrap", "_bootstrap_inner", "_set_ident", "_active"])
def test_thread_that_ends_before_it_begins(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """At the latest when Python has said that it has begun, but has not noted it among those that run."""
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)

    def die(thread: threading.Thread) -> NoReturn:
        raise MemoryError("deliberate")

    class Full(dict[Any, Any]):
        def __setitem__(self, key: object, value: object) -> None:
            if isinstance(value, ServerThread):
                raise MemoryError("deliberate")
            super().__setitem__(key, value)

    if where == "_active":
        monkeypatch.setattr(threading, "_active", Full(threading._active))  # type: ignore[attr-defined]
    else:
        monkeypatch.setattr(threading.Thread, where, die)
    called: list[int] = []
    thread = ServerThread(called.append, args=(1,))
    with pytest.raises(RuntimeError, match="out of memory for a new thread"):
        thread.start()
    assert not called
    assert not thread.is_alive()
    assert thread not in threading.enumerate()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_child_that_a_thread_forks() -> None:
    def fork() -> None:
        child = os.fork()
        if not child:
            current = threading.current_thread()
            fine = current is threading.main_thread() and threading.enumerate() == [current]
            begun = ServerThread(int)
            begun.start()
            begun.join()
            os._exit(0 if fine else 1)
        statuses.append(os.waitpid(child, 0)[1])

    statuses: list[int] = []
    thread = ServerThread(fork)
    thread.start()
    thread.join()
    assert statuses == [0]


@pytest.mark.parametrize("more", range(1_600_000, 2_800_000, 300_000))
def test_every_start_returns_for_want_of_memory(more: int) -> None:
    """What fails first depends on how much there is: each thread has a stack, and takes memory for Python's frames."""
    script = [sys.executable, "-c", UNDER_WANT.format(more=more)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
