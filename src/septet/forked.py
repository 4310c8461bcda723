"""What an application forks is not the server, and must not act as if it were.

os.fork, multiprocessing and subprocess with a `preexec_fn` copy the whole process: listeners and clients' sockets, the
eventfd of the order to stop, epoll instances (whose lists in the kernel both processes change), and our signal
handlers. A copy that keeps a client's socket open keeps the client waiting for the end of its answer; one that keeps a
listener keeps the port; and a TERM for the copy would be written to the eventfd and stop the server.

So in such a child, before any of its own code runs, everything that is registered here is closed, our signal handlers
give way to the defaults, and Python's wake-up descriptor is reset. If the child comes back from the application into
the server's code, it ends there, as a program does at its last line: see `exit_child`.

A process that the server itself forks (`server_forks`) goes on as the server and is left alone. Programs that the
application executes are not concerned: our descriptors are close-on-exec, and handlers do not survive execve(2).
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import SHUT_RDWR, socket
from threading import get_ident
from traceback import print_exception
from types import FrameType
from typing import Any, NoReturn, Protocol
from weakref import WeakSet

by_application = False
"""Whether this process was forked by the application of a server."""

copied = False
"""Whether the application has forked here: there may be copies of every descriptor in a process that knows nothing of
them (such as one that was accepted at that moment)."""

_is_server = False

Handler = Callable[[int, FrameType | None], Any]


class ClosedInChild(Protocol):
    def close_in_child(self) -> None:
        """Close this process's copies of descriptors, and touch nothing else: the parent goes on with its own."""


sockets: set[Any] = set()
"""Of clients, where a connection has no object that could be registered: closed like the rest."""

_registered: WeakSet[Any] = WeakSet()
_handlers: dict[int, Handler] = {}
_masks: dict[int, set[int]] = {}
"""Of threads that are about to fork."""
_our_fork: int | None = None
"""The thread in which the server forks a process of its own."""


def mark_as_server() -> None:
    """This process serves from now on: before it has handlers it loads the application, which may fork, too."""
    global _is_server
    _is_server = True


def register(thing: ClosedInChild) -> None:
    """Have a child of the application's close_in_child this."""
    _registered.add(thing)


def set_signal_handler(number: int, handler: Handler) -> None:
    """Set a signal handler that a child of the application's does not keep. For the main thread."""
    _handlers[number] = handler
    signal.signal(number, handler)


@contextmanager
def server_forks() -> Iterator[None]:
    """A process that is forked in here is the server's own."""
    global _our_fork
    _our_fork = get_ident()
    try:
        yield
    finally:
        _our_fork = None


def release(sock: socket) -> None:
    """Close a client's socket, for the client as well if a copy of it may be open elsewhere."""
    if copied:
        try:
            sock.shutdown(SHUT_RDWR)
        except OSError:  # it is closed already, or the client has left
            pass
    sock.close()


def exit_child(error: BaseException | None = None) -> NoReturn:
    """End a child that has come back from the application, with the status that Python would give it.

    Handlers of atexit are the parent's, and do not run: so has os.fork's documentation it.
    """
    status = 0
    try:
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)
        elif error is not None:
            status = 1
            print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status & 0xFF)


def _before() -> None:
    global copied
    copied = copied or _our_fork != get_ident()
    # A signal that comes for the child before it has the default handlers must wait until then.
    if _handlers:
        _masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _handlers)


def _after() -> None:
    mask = _masks.pop(get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    global by_application
    if _our_fork != get_ident():
        by_application = by_application or _is_server or bool(_handlers)
        if _handlers:
            signal.set_wakeup_fd(-1)
        for number, handler in _handlers.items():
            if signal.getsignal(number) is handler:  # else it is the application's
                signal.signal(number, signal.SIG_DFL)
        for thing in list(_registered):
            thing.close_in_child()
        _registered.clear()
        for sock in sockets:
            sock.close()
        sockets.clear()
    _after()
    _masks.clear()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
