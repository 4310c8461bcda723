"""Connects to a Dask cluster: one that runs already, or workers that are started for this run.

Workers that we start have a scheduler in this process, on the loopback. A worker on another machine is started by
ssh(1), whose connection also carries the two connections of the worker (to our scheduler, and from it): no port is
opened to a network, and logging in is between the user and ssh.
"""

# mypy: allow-untyped-calls
# (Dask has types in part.)
from __future__ import annotations

import contextlib
import logging
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import dask
from distributed import Client, LocalCluster

from septet.errors import Failed
from septet.lab.cluster.cluster_spec import ClusterSpec, Host
from septet.lab.server import LOOPBACK, free_port

START_S = 60.0
"""Seconds until all workers must be connected; a Python with Dask may take 10 s to start on a busy machine."""
CONNECT_S = 5.0
STOP_S = 5.0
DEATH_S = 20
"""A worker whose connection to its scheduler is lost ends itself after this many seconds."""
POLL_S = 0.05
WORKER = ("-m", "distributed.cli.dask_worker")
# The HTTP server of Dask cannot be turned off, but its dashboard can; so its usual port 8787 stays free for others.
SCHEDULER = {
    "n_workers": 0,
    "host": LOOPBACK,
    "dashboard_address": f"{LOOPBACK}:0",
    "scheduler_kwargs": {"dashboard": False},
    "silence_logs": logging.CRITICAL,
}
WORKER_OPTIONS = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")
SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=5")


@contextmanager
def connected(spec: ClusterSpec) -> Iterator[Client]:
    """Yield a Dask client of the cluster. Workers that are started here are stopped on leaving.

    Raises Failed when the scheduler does not answer, or a worker does not start.
    """
    # A task must not be tried again on another worker, and Dask must not log to the terminal.
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), _silence():
        if spec.scheduler is not None:
            with _client(spec.scheduler) as client:
                yield client
            return
        with (
            LocalCluster(**SCHEDULER) as cluster,
            _client(cluster.scheduler_address) as client,
            contextlib.ExitStack() as stack,
        ):
            started = [
                stack.enter_context(_started(title, command))
                for title, command in _commands(spec, cluster.scheduler_address)
            ]
            try:
                _await_workers(client, started)
                yield client
            finally:  # workers end at once when they are told; those that have gone are not waited for
                call_with_timeout(STOP_S, lambda: client.retire_workers(list(client.nthreads()), close_workers=True))


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the log of Dask off the terminal: errors that matter become error messages of ours."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _client(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Failed(f"--cluster: no Dask scheduler answers at {address} ({error})") from None
    try:
        yield client
    finally:
        client.close(timeout=STOP_S)


class Started:
    """A process that we have started to get a worker: the worker itself on this machine, or the ssh(1) that runs a
    worker on another machine.
    """

    def __init__(self, title: str, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        self.title = title
        self._process = process
        self._said = said

    def check_alive(self) -> None:
        """Raise Failed, with the last line of its output, when the process has ended."""
        status = self._process.poll()
        if status is None:
            return
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        words = f": {lines[-1]}" if lines else ""
        raise Failed(f"--cluster: the worker on {self.title} ended with status {status}{words}")


def _commands(spec: ClusterSpec, scheduler: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (name, command) for each worker to start."""
    for number in range(1, spec.local + 1):
        name = f"local-{number}"
        yield name, [sys.executable, *_worker(name, scheduler, 0)]
    for host in spec.hosts:
        yield host.name, _by_ssh(host, scheduler)


def _worker(name: str, scheduler: str, port: int) -> list[str]:
    """Return the arguments of Python that start a worker, which listens on `port` of the loopback; 0: any free port."""
    address = ["--host", LOOPBACK, "--worker-port", str(port)]
    return [*WORKER, scheduler, "--name", name, *address, *WORKER_OPTIONS, "--death-timeout", str(DEATH_S)]


def _by_ssh(host: Host, scheduler: str) -> list[str]:
    """Return the ssh command that starts a worker on `host` and forwards two ports: our scheduler's, so that the worker
    can reach it, and the worker's, so that we can."""
    port, worker_port = scheduler.rpartition(":")[2], free_port()
    tunnels = ["-R", _forwarded(port), "-L", _forwarded(worker_port)]
    return [*SSH, *tunnels, host.name, shlex.join(["exec", host.python, *_worker(host.name, scheduler, worker_port)])]


@contextmanager
def _started(title: str, command: list[str]) -> Iterator[Started]:
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,  # Ctrl-C is for the coordinator, which tells the workers
            )
        except OSError as error:
            raise Failed(f"--cluster: {command[0]} cannot be started: {error.strerror}") from None
        try:
            yield Started(title, process, said)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            process.kill()
            process.wait()


def _forwarded(port: str | int) -> str:
    return f"{LOOPBACK}:{port}:{LOOPBACK}:{port}"


def _await_workers(client: Client, started: list[Started]) -> None:
    """Block until all workers are connected to the scheduler. Raises Failed if one does not come."""
    deadline = time.monotonic() + START_S
    while len(client.nthreads()) < len(started):
        for each in started:
            each.check_alive()
        if time.monotonic() > deadline:
            came = {worker["name"] for worker in client.scheduler_info()["workers"].values()}
            missing = ", ".join(each.title for each in started if each.title not in came)
            raise Failed(f"--cluster: no worker came from {missing} within {START_S:g} s")
        time.sleep(POLL_S)


def call_with_timeout(seconds: float, call: Callable[[], object]) -> None:
    """Make the call in a thread, and wait for its end, but for at most `seconds`. The result of the call is not
    returned, and its exceptions are ignored.
    """

    def attempt() -> None:
        with contextlib.suppress(Exception):
            call()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
