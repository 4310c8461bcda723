"""Runs a Redis server for an experiment whose preset (`--profile`) stores the entries of the guestbook, the example
application, in Redis. Nothing is kept on disk.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from septet.errors import Failed
from septet.lab.server import Server, free_port

START_WITHIN_S = 10.0


@contextmanager
def redis(cpus: tuple[int, ...]) -> Iterator[str]:
    """Run a Redis on these CPUs until the context is left; yields its URL. Raises Failed when it cannot run."""
    program = shutil.which("redis-server")
    if program is None:
        raise Failed("--profile seed keeps its guestbook in Redis: install redis-server, such as by apt-get")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with Server(command, {}, stop_timeout_s=5.0, cpus=cpus) as server:
        _await_pong(server, port)
        yield f"redis://127.0.0.1:{port}/0"


def _await_pong(server: Server, port: int) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        server.check_alive()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    return
        except OSError:
            time.sleep(0.02)
    raise Failed(f"redis-server did not answer within {START_WITHIN_S:g} s{server.last_words()}")
