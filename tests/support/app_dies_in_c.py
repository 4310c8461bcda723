"""A WSGI application with a child that crashes before Python's own functions for a fork have run in it: in one that a
library has given to pthread_atfork(3)."""

import ctypes
import os
from collections.abc import Callable
from typing import Any

libc = ctypes.CDLL(None)
#: What pthread_atfork calls in glibc, which does not export that name itself.
register_atfork = libc.__register_atfork


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    register_atfork(None, None, ctypes.cast(libc.abort, ctypes.c_void_p), None)
    signalled = os.WTERMSIG(os.waitpid(os.fork(), 0)[1])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(signalled).encode()]
