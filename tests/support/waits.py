"""A process with a thread for each way of waiting: `python waits.py BACKEND_PORT` prints its port and its threads.

Each thread waits until the process is killed. What they wait for is what their names say.
"""

import json
import os
import queue
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
threads: dict[str, int] = {}


def client() -> socket.socket:
    """Our end of a connection from a client that says nothing."""
    kept.append(socket.create_connection(("127.0.0.1", port)))
    kept.append(listener.accept()[0])
    return kept[-1]


def polled(*descriptors: int) -> Callable[[], object]:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return poll.poll


def watched(*descriptors: int) -> Callable[[], object]:
    epoll = select.epoll()
    for descriptor in descriptors:
        epoll.register(descriptor, select.EPOLLIN)
    return epoll.poll


def patient(sock: socket.socket) -> Callable[[], object]:
    """A receive with a time-out, for which Python polls."""
    sock.settimeout(60)
    return lambda: sock.recv(1)


def spin() -> None:
    while True:
        pass


kept: list[socket.socket] = []
backend = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
pipe = os.pipe()[0]
first, second = client(), client()

WAYS: dict[str, Callable[[], object]] = {
    "client: receive": lambda: first.recv(1),
    "client: poll": polled(client().fileno()),
    "client: poll with an eye on the door": polled(second.fileno(), listener.fileno(), pipe),
    "accept: epoll": watched(listener.fileno(), pipe),
    "backend: receive": lambda: backend.recv(1),
    "backend: time-out": patient(socket.create_connection(("127.0.0.1", int(sys.argv[1])))),
    "events: epoll": watched(listener.fileno(), client().fileno()),
    "sleep": lambda: time.sleep(60),
    "lock: queue": queue.Queue[None]().get,
    "child: waitpid": lambda: os.waitpid(child.pid, 0),
    "child: pidfd": polled(os.pidfd_open(child.pid), pipe),
    "accept: accept": listener.accept,  # the last one: there are no clients for it
}


def start(name: str, wait: Callable[[], object]) -> None:
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert thread.native_id is not None
    threads[name] = thread.native_id


for name, wait in WAYS.items():
    start(name, wait)
if "--spin" in sys.argv:
    for number in (1, 2, 3):
        start(f"spin {number}", spin)
print(json.dumps({"port": port, "threads": threads}), flush=True)
time.sleep(60)
