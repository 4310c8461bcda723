"""Small applications that each isolate one cause of slowness, as WSGI in `wsgi` and as ASGI in `asgi`.

hello    answers at once: its cost is that of the server
cpu      burns the processor for some milliseconds: /?ms=5
wait     waits for a backend that takes some milliseconds: /?ms=20
stream   sends some pieces of 1 KiB: /?pieces=64
"""

import time
from urllib.parse import parse_qs

GREETING = b"hello, world\n"
PIECE = b"." * 1023 + b"\n"
CPU_MS = 5
WAIT_MS = 20
PIECES = 64


def number(query: str, name: str, default: int) -> int:
    """Return the value of `name` in a query string as a whole number; the default when it is missing or no number."""
    values = parse_qs(query).get(name, [])
    return int(values[-1]) if values and values[-1].isascii() and values[-1].isdigit() else default


def burn(milliseconds: int) -> None:
    """Use this much CPU time in the calling thread. Time in which it waits for a CPU or for the GIL does not count."""
    end_ns = time.thread_time_ns() + milliseconds * 1_000_000
    while time.thread_time_ns() < end_ns:
        sum(range(100))
