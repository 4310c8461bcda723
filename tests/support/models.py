"""The process models and application interfaces, and what tests may expect of each."""

import ctypes
import errno
import os
import sys
from typing import NamedTuple

MODELS = ("iterative", "forking", "preforked", "threaded", "prethreaded", "poll", "epoll", "io_uring", "interpreters")
INTERFACES = ("wsgi", "asgi")

#: Models in which one thread carries many connections by readiness or completion.
EVENT_DRIVEN = frozenset({"poll", "epoll", "io_uring"})

#: Those, in the order in which they are listed.
LOOPS = tuple(model for model in MODELS if model in EVENT_DRIVEN)

#: Where a test runs whose result the HTTP engine decides alone.
ENGINE_MODEL = "epoll"

#: A model for each way to call the application: from the thread that carries the connection, and beside an event loop.
STYLES = ("prethreaded", ENGINE_MODEL)

#: Every model that takes --workers.
WITH_WORKERS = tuple(model for model in MODELS if model != "forking")


class Configuration(NamedTuple):
    """A model with options that say where a WSGI application runs."""

    model: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "".join([self.model, *self.options]).replace("--", "-")

    @property
    def threads(self) -> int | None:
        """What --threads was given."""
        return int(self.options[self.options.index("--threads") + 1]) if "--threads" in self.options else None

    @property
    def on_the_loop(self) -> bool:
        """Whether a WSGI application has the thread that moves bytes, and runs there alone."""
        return self.model in EVENT_DRIVEN and self.threads == 0

    @property
    def one_at_a_time(self) -> bool:
        """Whether no answer of a WSGI application begins before the last one is complete."""
        return self.model == "iterative" or self.on_the_loop

    @property
    def in_main_thread(self) -> bool:
        """Whether a WSGI application runs where signal handlers may be set."""
        return self.model in ("iterative", "forking", "preforked") or self.on_the_loop


#: Everywhere a WSGI application may run: each model by itself, and the loops with and without threads of their own.
CONFIGURATIONS = (
    *(Configuration(model) for model in MODELS),
    *(Configuration(model, ("--threads", number)) for model in LOOPS for number in ("4", "0")),
)

_IO_URING_SETUP = 425  # the same number on every architecture, io_uring_setup(2)


#: Every model whose application may fork and set signal handlers, which Python allows in the main interpreter alone.
IN_MAIN_INTERPRETER = tuple(model for model in MODELS if model != "interpreters")

#: How many interpreters a process of the model `interpreters` has in tests that do not say so.
INTERPRETERS = 3


def loads(model: str) -> int:
    """How often a process that serves has loaded the application, and runs its lifespan."""
    return INTERPRETERS if model == "interpreters" else 1


def runs_concurrently(model: str) -> bool:
    """Whether a request that waits in the application leaves the server free for others."""
    return model != "iterative"


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


def interpreters_refusal() -> str | None:
    """Why this Python has no interpreters with locks of their own that a program can make (PEP 684 and 734)."""
    version = sys.version_info[:2]
    return None if version >= (3, 13) else f"Python {version[0]}.{version[1]} has no interpreters to be used"


def refusal(model: str) -> str | None:
    """Why a test cannot run under a model here, by what the kernel and the Python say, without any code of the
    server's."""
    reasons = {"io_uring": io_uring_refusal, "interpreters": interpreters_refusal}
    return reasons[model]() if model in reasons else None
