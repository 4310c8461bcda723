"""A WSGI application whose threads are struck by exceptions of other threads, as watchdogs and time-outs do it.

PyThreadState_SetAsyncExc(3) has no regard for what its thread is doing by then: it may have come back to the server.
"""

import asyncio
import ctypes
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from support import journal
from support.apps_asgi import Receive, Scope, Send
from support.behaviour import parameters


class Deliberate(BaseException):
    """What no library catches."""


KINDS: dict[str, type[BaseException]] = {
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "error": RuntimeError,
    "memory": MemoryError,
    "own": Deliberate,
}


def strike(thread: int, kind: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


def _strike_late(thread: int, kind: type[BaseException], begun: threading.Event) -> None:
    begun.wait()
    time.sleep(0.1)
    strike(thread, kind)
    journal.write("struck")


def _struck_at_random(times: int) -> None:
    """Every thread but the main one, which no application interrupts, and the one that is the event loop of all; once
    it runs the server's code: before that, no application can know of it. (`is_alive` is true a little earlier: without
    a GIL, on a busy machine, a thread may be struck in between, and `threading` loses it and what it was to do.)

    None is struck while a thread starts another one. Up to Python 3.11 the new thread then has the identifier of the
    one that starts it, gets the exception in its place, dies, and `Thread.start` waits for ever.
    """
    safe = (threading.main_thread(), threading.current_thread())
    lots = random.Random(17)
    for _ in range(times):
        living = [one for one in threading.enumerate() if one not in safe and one.name != "septet-loop"]
        frames = sys._current_frames()
        threads = [thread.ident for thread in living if thread.ident and _is_in_server(frames.get(thread.ident))]
        if threads and not threading._limbo:  # type: ignore[attr-defined]
            strike(lots.choice(threads), lots.choice(list(KINDS.values())))
        time.sleep(lots.uniform(0.0005, 0.015))
    journal.write("struck")


def _is_in_server(frame: FrameType | None) -> bool:
    while frame is not None:
        if "/septet/" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _strike_main() -> None:
    """Have an exception pending in the main thread when the answer is out and that thread sleeps, as it mostly does."""
    begun = threading.Event()
    main = threading.main_thread().ident or 0
    threading.Thread(target=_strike_late, args=(main, Deliberate, begun), daemon=True).start()
    begun.set()


def _hail(query: dict[str, str]) -> None:
    threading.Thread(target=_struck_at_random, args=(int(query["times"]),), daemon=True).start()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes] | Iterator[bytes]:
    query = parameters(environ["QUERY_STRING"])
    path = environ["PATH_INFO"]
    if path == "/gate":
        journal.pass_gate(query["gate"])
    elif path == "/waits":
        time.sleep(0.004)
    elif path == "/late":  # in the thread that has answered, when it comes to run again
        begun = threading.Event()  # `start` waits until the other thread runs: it is not to be struck there
        threading.Thread(target=_strike_late, args=(threading.get_ident(), KINDS[query["kind"]], begun)).start()
        begun.set()
    elif path == "/inside":
        strike(threading.get_ident(), KINDS[query["kind"]])
    elif path == "/main":
        _strike_main()
    elif path == "/hail":
        _hail(query)
    start_response("200 OK", [])
    return _parts() if path == "/parts" else [b"fine"]


def _parts() -> Iterator[bytes]:
    for part in (b"fi", b"n", b"e"):
        time.sleep(0.001)
        yield part


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError("deliberate: it is not known here")
    query = parameters(scope["query_string"].decode("latin-1"))
    if scope["path"] == "/gate":
        await journal.pass_gate_async(query["gate"])
    elif scope["path"] == "/waits":
        await asyncio.sleep(0.004)
    elif scope["path"] == "/main":
        _strike_main()
    elif scope["path"] == "/hail":
        _hail(query)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})
