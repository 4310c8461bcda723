"""A server under test: starts any command that listens on the port which it is given, and stops it with all its
processes.

It runs in a session of its own (setsid(2)), by whose id its processes are found (see the sampler). So Ctrl-C at our
terminal does not reach the server: it runs on until this process has written the results and stops it.
"""

from __future__ import annotations

import errno
import http.client
import os
import random
import resource
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from septet.errors import Failed
from septet.lab import proc
from septet.lab.load import bound_to

PORTS = range(20000, 32000)
"""Range of ports for servers under test: below those that the kernel gives to clients, so that clients do not take
them.
"""
POLL_S = 0.02
LOOPBACK = "127.0.0.1"


def free_port(host: str = LOOPBACK) -> int:
    """Find a free TCP port of the address `host` of this machine. Raises Failed if this machine has no such address, or
    if no port is free.
    """
    for port in random.sample(PORTS, 100):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise Failed(f"{host} is no address of this machine") from None
                continue
            return port
    raise Failed(f"no free port was found in {PORTS.start}-{PORTS.stop - 1} for the server")


@contextmanager
def _interruption_deferred() -> Iterator[None]:
    """Defer INT and TERM: if they were raised inside Popen, the process would run and its pid would be lost.

    Blocking them (pthread_sigmask) will not do: the child would inherit that, and could not be stopped with TERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are raised in the main thread only
        return
    caught: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, frame: caught.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for signal_number in caught:
        signal.raise_signal(signal_number)


class Server:
    """Context manager: starts the command of a server on entering; on leaving, all processes of the server are killed.

    They are killed as well if this process is killed and cannot leave the context (see Watchdog).
    """

    def __init__(
        self, command: list[str], environment: Mapping[str, str], stop_timeout_s: float, cpus: tuple[int, ...] = ()
    ) -> None:
        self._command = command
        self._cpus = cpus
        """The CPUs that the server and its children are bound to; empty: the CPUs of this process."""
        self._environment = {**os.environ, **environment}
        self._stop_timeout_s = stop_timeout_s
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed on leaving
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None
        self._before = resource.getrusage(resource.RUSAGE_CHILDREN)

    def __enter__(self) -> Server:
        try:
            with _interruption_deferred(), bound_to(self._cpus):
                self._process = subprocess.Popen(
                    self._command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=self._output,
                    stderr=self._output,
                    start_new_session=True,
                )
                self._watchdog = Watchdog(self._process.pid)
        except OSError as error:
            self.__exit__()
            raise Failed(f"the server could not be started: {error}") from None
        except KeyboardInterrupt:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._kill_session()
        if self._watchdog is not None:
            self._watchdog.dismiss()
        self._output.close()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "used before it was entered"
        return self._process

    @property
    def session(self) -> int:
        return self._running.pid

    def await_answer(self, url: str, timeout_s: float) -> int:
        """Wait for an answer from `url`, and return the status of the first one. Raises Failed if the server ends, or
        `timeout_s` seconds pass, before an answer has come.
        """
        parts = urlsplit(url)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.check_alive()
            left_s = max(0.1, deadline - time.monotonic())
            connection: http.client.HTTPConnection
            if parts.scheme == "https":
                anyone = ssl.create_default_context()
                anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
                connection = http.client.HTTPSConnection(parts.netloc, timeout=left_s, context=anyone)
            else:
                connection = http.client.HTTPConnection(parts.netloc, timeout=left_s)
            try:
                connection.request("GET", parts.path or "/", headers={"Connection": "close"})
                with connection.getresponse() as answer:
                    answer.read()
                    return answer.status
            except (OSError, http.client.HTTPException):
                time.sleep(POLL_S)
            finally:
                connection.close()
        raise Failed(f"no answer within {timeout_s:g} s of starting{self.last_words()}")

    def check_alive(self) -> None:
        """Raise Failed if the server has ended. The message has the last lines of the server's output."""
        status = self._running.poll()
        if status is not None:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            raise Failed(f"the server {how}{self.last_words()}")

    def last_words(self, lines: int = 3) -> str:
        """Return the last lines of the server's output, as ": line / line", to be appended to an error message; "" if
        it has written nothing.
        """
        file = self._output.fileno()
        # pread: the server writes through the same file description, whose offset is not ours to move.
        text = os.pread(file, 4096, max(0, os.fstat(file).st_size - 4096)).decode(errors="replace").splitlines()
        said = [line.strip() for line in text if line.strip() and "listening on" not in line][-lines:]
        return ": " + " / ".join(said) if said else ""

    def output(self, most_bytes: int = 1 << 22) -> str:
        """Return the last `most_bytes` of what the server has written to standard output and standard error."""
        file = self._output.fileno()
        return os.pread(file, most_bytes, max(0, os.fstat(file).st_size - most_bytes)).decode(errors="replace")

    def wait(self, timeout_s: float) -> None:
        """Wait until the server has ended, but at most `timeout_s` seconds. In both cases the method just returns."""
        with suppress(subprocess.TimeoutExpired):
            self._running.wait(timeout_s)

    def before_stop(self) -> None:
        """Note the resources that ended children of this process have used so far. `stop` subtracts them, so that its
        figures are those of the server alone.

        Between this call and `stop` no other child of this process may end.
        """
        self._before = resource.getrusage(resource.RUSAGE_CHILDREN)

    def stop(self) -> dict[str, Any]:
        """Stop the server with SIGTERM, and, if it does not end in time, with SIGKILL. Returns how it ended, and which
        resources it used in its whole life, as wait4(2) counts them.

        The figures include descendants that had ended and were waited for, and ended threads. After a SIGKILL they do
        not include the server's worker processes, so `complete` is False.
        """
        begun = time.monotonic()
        self._running.send_signal(signal.SIGTERM)
        try:
            self._running.wait(self._stop_timeout_s)
            killed = 0
        except subprocess.TimeoutExpired:
            killed = self._kill_session()
        left = self._kill_session()
        before, after = self._before, resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "status": self._running.wait(),
            "seconds": round(time.monotonic() - begun, 3),
            "killed": killed,
            "left_behind": left,
            "life": {
                "complete": not killed and not left,
                "user_s": after.ru_utime - before.ru_utime,
                "system_s": after.ru_stime - before.ru_stime,
                "voluntary_switches": after.ru_nvcsw - before.ru_nvcsw,
                "involuntary_switches": after.ru_nivcsw - before.ru_nivcsw,
            },
        }

    def _kill_session(self) -> int:
        """Kill those processes of the server's session that still run: first the one that was started first, so that it
        starts no other. Returns how many were killed.
        """
        killed = 0
        if self._running.poll() is None:
            self._running.kill()
            self._running.wait()
            killed = 1
        while alive := [process for process in proc.processes_of(self.session) if process.alive]:
            killed += len(alive)
            for process in alive:
                try:
                    os.kill(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(POLL_S)
        return killed


SCRIPT = 'read -r _; kill -s KILL -- "-$1"'


class Watchdog:
    """Kills the process group of a server if this process ends before it calls `dismiss`, even by SIGKILL, after which
    Python runs no `finally`.

    A shell reads from a pipe whose writing end this process has. However this process ends, the kernel closes that end,
    and the shell kills the process group. PR_SET_PDEATHSIG (prctl(2)) would do less: it is not inherited, so it reaches
    the first process of the server and no worker; it comes when the thread ends that started the server, not the
    process; and it must be set between fork and exec, which is no place for Python.
    """

    def __init__(self, group: int) -> None:
        # A session of its own: a signal to our terminal or group must not end the watchdog.
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", SCRIPT, "watchdog", str(group)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        with self._shell:  # closes the pipe and waits
            self._shell.kill()
