"""The small applications that each isolate one cause of slowness, in WSGI (PEP 3333). `wait` blocks its thread, as code
does that waits for a backend.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from septet.examples.causes import CPU_MS, GREETING, PIECE, PIECES, WAIT_MS, burn, number

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return _greet(start_response)


def cpu(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    burn(number(environ["QUERY_STRING"], "ms", CPU_MS))
    return _greet(start_response)


def wait(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    time.sleep(number(environ["QUERY_STRING"], "ms", WAIT_MS) / 1000)
    return _greet(start_response)


def stream(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(number(environ["QUERY_STRING"], "pieces", PIECES)):
        yield PIECE


def _greet(start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(GREETING)))])
    return [GREETING]
