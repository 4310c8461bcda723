"""Applications that do next to nothing, and can tell what their process has spent: the rest of that is the server's.

With `COUNT_STEPS` in the environment, everything in Python that runs after the import of this module is counted, in all
threads: calls of functions (a generator or coroutine that goes on is one too), and instructions of bytecode.
"""

import gc
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from types import FrameType
from typing import Any

COUNT_STEPS = "SPEED_COUNT_STEPS"

HELLO = b"Hello, world"
PARTS = 10
PART = b"x" * 100

_calls = _instructions = 0


def _count(frame: FrameType, event: str, argument: object) -> Any:
    global _calls, _instructions
    if event == "opcode":
        _instructions += 1
    elif event == "call":
        _calls += 1
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
    return _count


if COUNT_STEPS in os.environ:
    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for one such frame when tracing begins
    threading.settrace(_count)
    sys.settrace(_count)


def spent() -> bytes:
    """Calls and instructions so far, and the blocks of memory in use now (sys.getallocatedblocks)."""
    steps = _calls, _instructions
    gc.collect()
    return json.dumps([*steps, sys.getallocatedblocks()]).encode()


def held() -> bytes:
    """Names of Septet's modules that are imported, the number of all other modules, and the memory that no other
    process shares, in KiB."""
    ours = sorted(name for name in sys.modules if name.partition(".")[0] == "septet")
    with open("/proc/self/smaps_rollup") as file:
        private = sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
    return json.dumps([ours, len(sys.modules) - len(ours), private]).encode()


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (PART for _ in range(PARTS))
    if path == "/spent":
        content = spent()
    elif path == "/held":
        content = held()
    elif path == "/post":
        content = b"%d" % len(environ["wsgi.input"].read())
    else:
        content = HELLO
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
    return [content]


Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await _echo(receive, send)
        return
    if scope["type"] != "http":
        raise NotImplementedError("there is nothing to set up")
    path = scope["path"]
    headers = [(b"content-type", b"text/plain")]
    if path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(PARTS):
            await send({"type": "http.response.body", "body": PART, "more_body": True})
        await send({"type": "http.response.body"})
        return
    if path == "/spent":
        content = spent()
    elif path == "/held":
        content = held()
    elif path == "/post":
        content = b"%d" % len((await receive())["body"])
    else:
        content = HELLO
    headers.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})
