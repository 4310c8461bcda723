"""A process that the application forks is not the server, and must not act as if it were.

os.fork, multiprocessing and subprocess with a `preexec_fn` copy the whole process: listeners and clients' sockets, the
eventfd of the order to stop, epoll instances (whose lists in the kernel both processes change), and our signal
handlers. A copy that keeps a client's socket open keeps the client waiting for the end of its answer; one that keeps a
listener keeps the port; and a TERM for the copy would be written to the eventfd and stop the server.

So in such a child, before any of its own code runs, everything that is registered here is closed, our signal handlers
give way to the defaults, and Python's wake-up descriptor is reset. If the child comes back from the application into
the server's code, it ends there, as a program does at its last line: see `exit_child`.

A process that the server itself forks (`fork`) goes on as the server and is left alone. Programs that the
application executes are not concerned: our descriptors are close-on-exec, and handlers do not survive execve(2).
"""

# `signal` makes enums of its arguments and results, and a look at an attribute of a module, in code that runs for its
# first time, counts references to its name: both cost each child of the model forking some pages of memory.
import os
import signal
import sys
from _signal import (  # type: ignore[import-not-found]
    SIG_BLOCK,
    SIG_DFL,
    SIG_SETMASK,
    getsignal,
    pthread_sigmask,
    set_wakeup_fd,
)
from _signal import signal as set_handler
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, socket
from threading import get_ident
from traceback import print_exception
from types import FrameType
from typing import Any, NoReturn, Protocol
from weakref import WeakSet, ref

by_application = False
"""True if this process was forked by the application of a server. Such a process must not act as the server: where the
application comes back into the server's code, the process ends (`exit_child`).
"""

copied = False
"""True once the application has forked a child from this process. The child may have copies of descriptors that it did
not close, such as a socket that was accepted at that moment. From then on `release` shuts a connection down before it
closes the socket, so that the client sees the end.
"""

_is_server = False
"""True if this process serves, or loads an application to serve it. Forks of other processes are none of our concern.
"""

Handler = Callable[[int, FrameType | None], Any]


class ClosedInChild(Protocol):
    """An object that holds descriptors, which a child that the application forks must not keep open."""

    def close_in_child(self) -> None:
        """Close this process's copies of descriptors, and touch nothing else: the parent goes on with its own."""


sockets: set[Any] = set()
"""Sockets of clients that are closed in a child which the application forks, like the objects that `register` was
given. The blocking models add their sockets here, because they have no object for a connection that could be
registered.
"""

files: dict[int, ref[Any]] = {}
"""Open files that are being sent to clients: their descriptors, and what would close each (`apps._files`). A child that
the application forks closes them: it must not keep a file's bytes on the disk when the file is deleted. They are added
here, because `register` takes longer, and an answer may open a file.
"""

_registered: WeakSet[Any] = WeakSet()
_handlers: dict[int, Handler] = {}
_masks: dict[int, list[set[int]]] = {}
"""For each thread that is just forking, by `get_ident()`: the signal mask that it had before the fork and gets back
after it. There are several if a signal handler that was called during one fork has forked, too.
"""
_our_fork: int | None = None
"""`get_ident()` of the thread in which the server is just forking a process of its own, not the application; None:
there is no such fork at the moment.
"""


def mark_as_server() -> None:
    """Declare that this process serves. To be called before the application is loaded, because it may fork already
    then."""
    global _is_server
    _is_server = True


def register(thing: ClosedInChild) -> None:
    """Have `thing.close_in_child()` called in children that the application forks. Holds a weak reference only."""
    _registered.add(thing)


def unregister(thing: ClosedInChild) -> None:
    """Undo `register`; does nothing if `thing` was not registered."""
    _registered.discard(thing)


def set_signal_handler(number: int, handler: Handler) -> None:
    """Set a signal handler that is reset in children that the application forks. For the main thread."""
    _handlers[number] = handler
    set_handler(number, handler)


def is_ours(number: int, handler: object) -> bool:
    """True if `handler` is the one that `set_signal_handler` was given last for this signal."""
    return handler is not None and _handlers.get(number) is handler


def reset_signal_handler(number: int) -> None:
    """Give a signal its default action again, in place of the handler that `set_signal_handler` has set. If the
    application has set a handler of its own since, that is left alone.
    """
    handler = _handlers.pop(number, None)
    if handler is not None and getsignal(number) is handler:
        set_handler(number, SIG_DFL)


def silence_application_signals() -> None:
    """Replace the application's signal handlers by one that does nothing, because a handler that raises would do so in
    the server's last steps. For the main thread of a process that has served and is about to end.
    """
    while True:
        try:
            for number in signal.valid_signals():
                handler = signal.getsignal(number)
                if callable(handler) and handler not in (signal.default_int_handler, _handlers.get(number)):
                    signal.signal(number, _do_nothing)
            return
        except BaseException:  # raised by one of them
            pass


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """The signal handler that `silence_application_signals` sets. SIG_IGN would not do: a program that the application
    executes would inherit it.
    """


def fork() -> int:
    """Fork a process of the server's own, which keeps its descriptors, and return what `os.fork` returns."""
    global _our_fork
    _our_fork = get_ident()
    try:
        return os.fork()
    finally:
        _our_fork = None


@contextmanager
def application_may_fork() -> Iterator[None]:
    """Context manager around a call of a signal handler of the application: a child that it forks is the application's,
    even if the signal has come while the server was forking a process of its own.
    """
    global _our_fork
    before, _our_fork = _our_fork, None
    try:
        yield
    finally:
        _our_fork = before


def release(sock: socket) -> None:
    """Close a client's socket. If a child may have a copy of it, shut the connection down first, so that the client
    sees its end."""
    if copied:
        try:
            sock.shutdown(SHUT_RDWR)
        except OSError:  # it is closed already, or the client has left
            pass
    sock.close()


def exit_child(error: BaseException | None = None) -> NoReturn:
    """End a child that the application has forked and that has returned into our code, with the exit status that Python
    would give it for `error`, the exception that it raised.

    Functions that were registered with atexit in the parent do not run.
    """
    status = 0 if error is None else 1  # also if the exception, which is the application's, raises when it is asked
    try:
        if isinstance(error, SystemExit):
            code = error.code
            if isinstance(code, str):
                print(code, file=sys.stderr)
            elif code is None or isinstance(code, int):
                status = int(code or 0) & 0xFF
        elif error is not None:
            print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _before() -> None:
    """Called before any fork: note that a copy of our descriptors may exist, and block signals that have our
    handlers."""
    global copied
    copied = copied or _our_fork != get_ident()
    # A signal for the child must not arrive before `_in_child` has reset the handlers.
    if _handlers:
        mask = pthread_sigmask(SIG_BLOCK, _handlers)
        _masks.setdefault(get_ident(), []).append(mask)


def _after() -> None:
    """Called after any fork, in the parent and at the end of `_in_child`: restore the signal mask."""
    masks = _masks.get(get_ident())
    if masks:
        pthread_sigmask(SIG_SETMASK, masks.pop())
        if not masks:
            _masks.pop(get_ident(), None)


def _in_child() -> None:
    """Called in any forked child. If the application has forked it, close the server's descriptors and reset our
    handlers."""
    global by_application
    if _our_fork != get_ident():
        by_application = by_application or _is_server or bool(_handlers)
        if _handlers:
            set_wakeup_fd(-1)
        for number, handler in _handlers.items():
            if getsignal(number) is handler:  # else the application has set one of its own
                set_handler(number, SIG_DFL)
        _let_go()
    _after()
    _masks.clear()


def _let_go() -> None:
    """Close all that a child must not keep open. What cannot be closed leaves the rest: a descriptor of ours that the
    application has closed, or want of memory, for which no list is made of the things either.
    """
    while True:
        try:
            thing = _registered.pop()
        except KeyError:  # there is none left
            break
        with suppress(OSError, MemoryError):
            thing.close_in_child()
    for sock in sockets:
        with suppress(OSError):
            sock.close()
    sockets.clear()
    for descriptor, owner in files.items():
        _close_file(descriptor, owner())
    files.clear()


def _close_file(descriptor: int, owner: Any) -> None:
    if owner is not None:
        owner.number = -1
    with suppress(OSError):  # the application has closed it
        os.close(descriptor)


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
