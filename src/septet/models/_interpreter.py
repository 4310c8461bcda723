"""One interpreter beside the main one, as the main interpreter sees it: a thread that runs in it, and a pair of sockets
through which orders go in and reports come out.

Python 3.13 has interpreters as the private module `_interpreters`; since Python 3.14 `concurrent.interpreters` is the
public way to the same module, but makes none in which daemon threads are allowed. The server has such threads, and so
have many applications. They are forbidden because an interpreter cannot be ended while one of them runs; here no
interpreter is ended before its process.
"""

import json
import logging
import os
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

from septet import isolated
from septet.service import Service
from septet.thread import ServerThread

log = logging.getLogger("septet")

_IMPORT = "import _interpreters"
"""Code that is executed in a new interpreter before anything else: it must have imported this module before a
memoryview can be passed to it.
"""

_SERVE = """
import sys

sys.path[:] = path
from septet.models.interpreters import serve

serve(data, in_flight, waiting)
"""


def obstacle() -> str | None:
    """Return why this Python has no interpreters that can serve, in a sentence; None if it has."""
    if sys.version_info < (3, 13):
        version = ".".join(map(str, sys.version_info[:2]))
        return f"this is Python {version}, and interpreters of one process can be used since Python 3.13"
    try:
        import_module("_interpreters")
    except ImportError as error:
        return f"this Python has no interpreters beside the main one: {error}"
    return None


class Interpreter:
    """Makes a Python interpreter beside the main one, and a thread in which it serves clients as `service`
    describes. `number` counts the interpreters of the process from 0; `config` is what `isolated.config_of_one`
    returns. Raises OSError, or RuntimeError, if no interpreter or thread can be made.
    """

    def __init__(self, service: Service, config: Any, number: int) -> None:
        self._interpreters: Any = import_module("_interpreters")
        self._id = self._interpreters.create(self._interpreters.new_config("isolated", allow_daemon_threads=True))
        self._channel, theirs = socket.socketpair()
        self._unread = b""
        data, shared = isolated.handover(service, config, number, theirs.detach())
        self._given = {"data": data, "in_flight": shared.in_flight, "waiting": shared.waiting, "path": tuple(sys.path)}
        self.number = number
        ServerThread(self._run, f"septet-interpreter-{number}").start()

    def fileno(self) -> int:
        """Return a descriptor that is readable when `reports` has something to read, or the interpreter has ended."""
        return self._channel.fileno()

    def reports(self) -> list[dict[str, Any]] | None:
        """Wait until the interpreter has sent reports, such as that it is ready, and return those that are complete,
        each a dictionary from JSON. Returns None if the interpreter has ended.
        """
        data = self._channel.recv(65536)
        if not data:
            return None
        *lines, self._unread = (self._unread + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def order(self, what: bytes) -> None:
        """Send the interpreter an order, one of the bytes that `septet.isolated` defines, such as the order to stop.
        Does nothing if the interpreter has ended. May be called in a signal handler.
        """
        with suppress(OSError):  # it has ended
            os.write(self._channel.fileno(), what)

    def close(self) -> None:
        """Close the main interpreter's end of the pair of sockets. Called when the interpreter at the other end has
        ended.
        """
        self._channel.close()

    def _run(self) -> None:
        """What the thread does, from its start to its end: runs the server in the interpreter until that is ordered to
        stop.
        """
        try:
            self._interpreters.exec(self._id, _IMPORT)
            failure = self._interpreters.exec(self._id, _SERVE, self._given)
            if failure is not None:
                log.error("an interpreter has failed\n%s", getattr(failure, "errdisplay", failure.formatted))
        except Exception:
            log.exception("an interpreter has failed")
        finally:
            self._channel.shutdown(socket.SHUT_RDWR)  # ends the thread that waits for orders, and tells `reports`
