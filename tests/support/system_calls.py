"""The system calls of a server's processes and threads, counted by strace(1) while a test keeps it busy."""

import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.server import Server

#: Rows that are no calls of the server's: the sum, and how the kernel goes on with a wait that strace has disturbed.
_NOT_THEIRS = ("total", "restart_syscall")

_ROW = re.compile(r"^ *(\d+) (\w+)$", re.MULTILINE)


def system_calls(server: Server, work: Callable[[], object]) -> Counter[str]:
    """How many calls, by name, all processes of `server` make while `work()` runs, and those that it forks then."""
    table = server.directory / "strace"
    with _attached([process.pid for process in server.tree()], table):
        work()
    counts = Counter({name: int(count) for count, name in _ROW.findall(table.read_text())})
    for name in _NOT_THEIRS:
        del counts[name]
    return counts


@contextmanager
def _attached(pids: list[int], table: Path) -> Iterator[None]:
    """strace has taken hold of all threads of these; at the end it lets go and writes its table."""
    assert shutil.which("strace"), "strace counts the system calls; install it: sudo apt-get install strace"
    command = ["strace", "--summary-only", "--summary-columns=calls,name", "--follow-forks", "-o", str(table)]
    for pid in pids:
        command += ["-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        try:
            _await_hold(strace, len(pids))
            yield
        finally:
            strace.send_signal(signal.SIGINT)


def _await_hold(strace: "subprocess.Popen[str]", processes: int) -> None:
    assert strace.stderr is not None
    said = ""
    while said.count(" attached") < processes:
        line = strace.stderr.readline()
        assert line, f"strace cannot attach; root can, or anybody with kernel.yama.ptrace_scope=0. It says: {said}"
        said += line
