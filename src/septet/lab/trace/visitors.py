"""A few users for a trace, who pause between two requests, and record when each was sent and answered.

The load generator keeps counts alone; a trace needs the times of each request, to draw it from the user's side as
well. This is a process of its own: `python -m septet.lab.trace.visitors URL ...` prints "here" when each
user has sent a request, goes on until its standard input ends, and then prints one JSON list of
[user, local port, asked, answered, status], in nanoseconds of CLOCK_MONOTONIC; status 0 is no answer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import threading
import time
from urllib.parse import urlsplit

_TIMEOUT_S = 10.0
_PAUSE_AFTER_FAILURE_S = 0.01  # a server that refuses must not cost a whole CPU

Visit = tuple[int, int, int, int, int]


def main() -> None:
    parser = argparse.ArgumentParser(prog="visitors")
    parser.add_argument("url")
    parser.add_argument("--users", type=int, default=3)
    parser.add_argument("--think", type=float, default=0.0, help="seconds between an answer and the next request")
    parser.add_argument("--close", action="store_true", help="a new connection for every request")
    options = parser.parse_args()
    visitors = [Visitor(number, options.url, options.think, options.close) for number in range(1, options.users + 1)]
    for visitor in visitors:
        visitor.come()
    for visitor in visitors:
        visitor.here.wait()
    print("here", flush=True)
    sys.stdin.read()
    json.dump([visit for visitor in visitors for visit in visitor.leave()], sys.stdout)


class Visitor:
    """One user, who sends requests in a thread of its own and records each of them."""

    def __init__(self, number: int, url: str, think_s: float, close: bool) -> None:
        parts = urlsplit(url)
        self.here = threading.Event()
        self._number = number
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_S)
        self._think_s = think_s
        self._close = close
        self._leaving = threading.Event()
        self._visits: list[Visit] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def come(self) -> None:
        self._thread.start()

    def leave(self) -> list[Visit]:
        """Stop after the answer that is awaited now, and return a record of each request."""
        self._leaving.set()
        self._thread.join()
        return self._visits

    def _run(self) -> None:
        thinking = random.Random(self._number)  # the same pauses in every run
        while not self._leaving.is_set():
            asked = time.monotonic_ns()
            port, status = _ask(self._connection, self._path, self._close)
            self._visits.append((self._number, port, asked, time.monotonic_ns(), status))
            self.here.set()
            if not status:
                time.sleep(_PAUSE_AFTER_FAILURE_S)
            time.sleep(self._think_s * (0.5 + thinking.random()))
        self._connection.close()


def _ask(connection: http.client.HTTPConnection, path: str, close: bool) -> tuple[int, int]:
    """Send a request; returns the local port and the status, or 0 as the status when there was no answer."""
    for _ in range(2):
        port, kept = 0, connection.sock is not None
        try:
            if not kept:
                connection.connect()
            port = connection.sock.getsockname()[1]
            connection.request("GET", path, headers={"Connection": "close"} if close else {})
            answer = connection.getresponse()
            answer.read()
            if close:
                connection.close()
            return port, answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            if not kept:
                break
            # A kept connection may be closed by the server at any time: send again (RFC 9112 section 9.3.1).
    return port, 0


if __name__ == "__main__":
    main()
