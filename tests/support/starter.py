"""Servers that begin by fork(2), in a process that has imported Septet already.

Most of what a server's start takes is Python and the import of what every server imports, and the suite starts some
thousands. So a process of the tests has one helper, which imports Septet and no application, and forks whenever a
server is asked for. The child has the arguments, environment, directory and descriptors that a program would have been
given, is a child of the process that asked, and runs `python -m septet`.

Where a test prepared its own process in a way that a program would inherit (limits, signals that are ignored, ids,
namespaces), or gives an environment that Python itself reads at its start, the program is executed instead. So are
all servers for which the fixture `executed` is asked, and all if `CONTRACT_START=exec` is set: those of tests that
measure memory or what a start costs, and some of each model. Tests of the command line and of failing starts execute
programs of their own.
"""

import atexit
import contextlib
import ctypes
import fcntl
import functools
import json
import mmap
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

#: What all servers import, and many fixture applications. Not `multiprocessing`: its presence tells a server that
#: the application starts processes.
_IMPORTED = ("asyncio", "click", "json", "septet.cli", "septet.server", "septet.models._loops")

#: Variables that matter before a program's first line: those of Python, of the loader and of the allocator.
_EARLY = re.compile(r"PYTHON|LD_|GLIBC_|MALLOC_")

#: What makes servers tell of descriptors that they forgot.
WARNINGS = {"PYTHONWARNINGS": "always::ResourceWarning"}

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

#: Above any number by which a test hands over a descriptor.
_HIGH = 500


class Child:
    """A forked process, with what tests use of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        """Its exit status; TimeoutExpired after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.002)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def start(
    command: list[str],
    environment: Mapping[str, str],
    cwd: Path,
    stdout: int | None,
    stderr: int,
    pass_fds: Sequence[int],
) -> Child | subprocess.Popen[bytes]:
    """A process for `command`, `python -m septet ...`; its standard input is empty."""
    if _may_fork(command, environment, stdout):
        return _starter().fork(command, environment, cwd, {1: 1, 2: stderr} | {each: each for each in pass_fds})
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=cwd, env=environment, pass_fds=pass_fds
    )


def _may_fork(command: Sequence[str], environment: Mapping[str, str], stdout: int | None) -> bool:
    if (
        os.environ.get("CONTRACT_START") == "exec"
        or stdout is not None
        or command[:3] != [sys.executable, "-m", "septet"]
    ):
        return False
    starter = _starter()
    return starter.early == _early(environment) and starter.surroundings == _surroundings()


def _early(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if _EARLY.match(name)}


def _surroundings() -> tuple[object, ...]:
    """What a program inherits from the process that starts it, beside its environment and descriptors."""
    status = Path("/proc/self/status").read_text()
    kept = re.findall(
        r"^(?:Umask|[UG]id|Groups|Sig(?:Blk|Ign)|Cap\w+|NoNewPrivs|Seccomp|Cpus_allowed):.*", status, re.M
    )
    spaces = [os.readlink(f"/proc/self/ns/{name}") for name in ("net", "mnt", "pid_for_children", "user")]
    return *kept, *spaces, Path("/proc/self/limits").read_text(), os.getpriority(os.PRIO_PROCESS, 0), os.getsid(0)


@functools.cache
def _starter() -> "_Starter":
    """One for each process of the tests; it ends when that does, by the end of their socket."""
    return _Starter()


class _Starter:
    def __init__(self) -> None:
        self.early, self.surroundings = _early(os.environ) | WARNINGS, _surroundings()
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            environment = dict(os.environ) | WARNINGS
            self._helper = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, env=environment, pass_fds=[theirs.fileno()]
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._socket.close()
        self._helper.wait()

    def fork(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path, fds: Mapping[int, int]) -> Child:
        """A child of this process that has the descriptors `fds`, by the numbers that it is to know them by."""
        order = json.dumps([command, dict(environment), str(cwd), list(fds)]).encode()
        with self._lock, _adopting():
            socket.send_fds(self._socket, [order], list(fds.values()))
            return Child(int(self._socket.recv(64)))


@contextlib.contextmanager
def _adopting() -> Generator[None]:
    """Meanwhile, orphans among the descendants of this process become its children."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _wait_for_order(orders: socket.socket) -> list[str]:
    """In the helper: fork for each order; return in the child, with the arguments of the program that it is to be."""
    while True:
        try:
            order, fds, _flags, _address = socket.recv_fds(orders, 1 << 20, 64)
        except KeyboardInterrupt:
            order = b""
        if not order:
            os._exit(0)  # the tests are over
        reading, writing = os.pipe()
        middle = os.fork()
        if not middle:
            middle = os.getpid()
            if child := os.fork():
                os.write(writing, str(child).encode())
                os._exit(0)  # so the child is an orphan
            while os.getppid() == middle:
                time.sleep(0.0005)
            orders.detach()
            return _become(*json.loads(order), fds)
        os.waitpid(middle, 0)
        orders.send(os.read(reading, 64))
        for fd in (reading, writing, *fds):
            os.close(fd)


def _become(command: list[str], environment: dict[str, str], cwd: str, numbers: list[int], fds: list[int]) -> list[str]:
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH) for fd in fds]
    os.closerange(3, _HIGH)
    for fd, number in zip(high, numbers, strict=True):
        os.dup2(fd, number)
        os.close(fd)
    _unshare()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = cwd
    sys.orig_argv[:] = command
    return command[3:]


def _unshare() -> None:
    """What the processes of a server share from the import of a module on: each server has its own."""
    fresh: dict[int, mmap.mmap] = {}
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()):
            if type(value) is mmap.mmap:
                setattr(module, name, fresh.setdefault(id(value), mmap.mmap(-1, len(value))))


if __name__ == "__main__":
    for name in _IMPORTED:
        import_module(name)
    sys.argv[1:] = _wait_for_order(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("septet", run_name="__main__", alter_sys=True)
