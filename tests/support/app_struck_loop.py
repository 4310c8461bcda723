"""An ASGI application in which an exception strikes its loop's thread, once, at a call that a test chooses by number.

As another thread (PyThreadState_SetAsyncExc) or a signal handler raises one: whatever the thread is doing by then. Not
to be imported by a test.
"""

import asyncio
import sys
from itertools import count
from types import FrameType
from typing import Any

from support.apps_asgi import Receive, Scope, Send
from support.behaviour import parameters


class Deliberate(BaseException):
    """What no library catches."""


KINDS: dict[str, type[BaseException]] = {"own": Deliberate, "interrupt": KeyboardInterrupt}


def may_be_struck(frame: FrameType, event: str) -> bool:
    """True where Python lets such exceptions come: after the call of a function in C, at the beginning of one in
    Python, and where a generator goes on after a `yield`, but not after a `yield from` or `await`.
    """
    return event == "c_return" or (event == "call" and frame.f_code.co_code[frame.f_lasti + 1] & 3 < 2)


PARTS = [b"first ", b"second ", b"third"]

_struck = False


def _arm(number: int, kind: type[BaseException]) -> None:
    """Have `kind` raised at the `number`-th call in the server's code from now on."""
    global _struck
    _struck = False
    events = count()

    def strike(frame: FrameType, event: str, argument: Any) -> None:
        global _struck
        if "/septet/" in frame.f_code.co_filename and may_be_struck(frame, event) and next(events) == number:
            _struck = True
            sys.setprofile(None)
            raise kind("deliberate")

    sys.setprofile(strike)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError("there is nothing to set up")
    query = parameters(scope["query_string"].decode("latin-1"))
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/parts":
        for part in PARTS[:-1]:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(0.001)
        await send({"type": "http.response.body", "body": PARTS[-1]})
    elif scope["path"] == "/arm":
        await send({"type": "http.response.body", "body": b"armed"})
        _arm(int(query["number"]), KINDS[query["kind"]])
    else:
        sys.setprofile(None)
        await send({"type": "http.response.body", "body": b"struck" if _struck else b"nothing came"})
