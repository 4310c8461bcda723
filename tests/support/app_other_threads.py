"""A WSGI application whose own threads go on with what was given for one call, when that is over."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from septet.apps._other_threads import PATIENCE_S
from support import journal

sys.setswitchinterval(1e-4)
LARGE = bytes(20_000_000)
"""More than sockets hold."""


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path, source = environ["PATH_INFO"], environ["wsgi.input"]
    if path == "/writes":
        write, tag, begun = start_response("200 OK", []), b"<%s>" % environ["QUERY_STRING"].encode(), threading.Event()

        def go_on() -> None:
            begun.set()
            with suppress(RuntimeError):  # once it may no longer write
                while True:
                    write(tag)

        threading.Thread(target=go_on, daemon=True).start()
        begun.wait()
        return [b"end"]
    if path == "/forks":
        write, begun = start_response("200 OK", []), threading.Event()

        def send() -> None:
            begun.set()
            write(LARGE)

        threading.Thread(target=send, daemon=True).start()
        begun.wait()
        time.sleep(0.2)  # until it waits for the client
        began, child = time.monotonic(), os.fork()
        if child:
            status = os.waitpid(child, 0)[1]
            journal.write(f"child ended: {status}, {'late' if time.monotonic() - began >= PATIENCE_S else 'in time'}")
        return [b"end"]
    if path == "/queue":  # one thread waits for the client, another one to send after it
        write, sending = start_response("200 OK", []), threading.Event()

        def give_large() -> None:
            sending.set()
            with suppress(OSError):
                for _ in range(2):  # the second waits even with --limit-spool
                    write(LARGE if environ["QUERY_STRING"] == "large" else LARGE[:2_000_000])
            journal.write("large is over")

        def give_late() -> None:
            try:
                write(b"<late>")
                journal.write("late was taken")
            except (OSError, RuntimeError) as error:
                journal.write(f"late was refused: {error}")

        threading.Thread(target=give_large, daemon=True).start()
        sending.wait()
        time.sleep(0.3)  # until it waits for the client
        threading.Thread(target=give_late, daemon=True).start()
        time.sleep(0.1)
        return [b"end"]
    if path == "/reads":

        def read() -> None:
            try:
                source.read()
            except OSError as error:
                journal.write(f"refused: {error}")

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        reader.join(0.05)
        start_response("200 OK", [("Content-Length", "5")])
        return [b"early"]
    if path == "/both":
        taken: list[int] = []

        def take() -> None:
            while part := source.read1(100):
                taken.append(len(part))

        taker = threading.Thread(target=take, daemon=True)
        taker.start()

        def parts() -> Iterator[bytes]:
            for number in range(20):
                yield b"%06d;" % number * 10_000
            taker.join()
            yield b"%d" % sum(taken)

        start_response("200 OK", [])
        return parts()
    if path == "/writer":
        write = start_response("200 OK", [])

        def give() -> None:
            for number in range(20):
                write(b"%06d;" % number * 10_000)

        giver, count = threading.Thread(target=give, daemon=True), 0
        giver.start()
        while part := source.read1(100):
            count += len(part)
        giver.join()
        return [b"%d" % count]
    body = source.read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
