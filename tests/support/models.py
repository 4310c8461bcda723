"""The process models and application interfaces, and what tests may expect of each."""

import ctypes
import errno
import os

MODELS = ("iterative", "forking", "preforked", "threaded", "prethreaded", "poll", "epoll", "io_uring")
INTERFACES = ("wsgi", "asgi")

#: Models in which one thread carries many connections by readiness or completion.
EVENT_DRIVEN = frozenset({"poll", "epoll", "io_uring"})

#: Every model that takes --workers.
WITH_WORKERS = tuple(model for model in MODELS if model != "forking")

_IO_URING_SETUP = 425  # the same number on every architecture, io_uring_setup(2)


def runs_concurrently(model: str, interface: str) -> bool:
    """Whether a request that waits in the application leaves the server free for others."""
    return model != "iterative" and not runs_on_the_loop(model, interface)


def runs_on_the_loop(model: str, interface: str) -> bool:
    """Whether the application's code blocks the only thread that moves bytes."""
    return model in EVENT_DRIVEN and interface == "wsgi"


def carries_concurrently(model: str) -> bool:
    """Whether a client that is slow leaves the server free for others."""
    return model != "iterative"


def io_uring_refusal() -> str | None:
    """The kernel's own reason for refusing io_uring to this process, asked without any code of the server's."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(_IO_URING_SETUP, 1, ctypes.create_string_buffer(120))
    if descriptor < 0:
        number = ctypes.get_errno()
        return f"io_uring_setup(2): {errno.errorcode.get(number, number)}, {os.strerror(number)}"
    os.close(descriptor)
    return None
