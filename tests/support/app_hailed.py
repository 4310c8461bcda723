"""An application whose signal handler raises every few milliseconds, from the request for /hail on, `times` times.

Its other answers are digests of the requests' bodies, so that a client sees if a byte was lost. Not to be imported by a
test.
"""

import hashlib
import random
import signal
from typing import Any

from support import journal
from support.apps_asgi import Receive, Scope, Send
from support.behaviour import parameters

FIRST_S = 0.2
"""Until then the answer is out."""
SHORTEST_S = 0.002
LONGEST_S = 0.012


class Deliberate(Exception):
    """What no library catches."""


KINDS: tuple[type[BaseException], ...] = (
    TimeoutError,
    KeyboardInterrupt,
    SystemExit,
    MemoryError,
    ValueError,
    Deliberate,
)

_lots = random.Random(10)
_left = 0


def _strike_later() -> None:
    signal.setitimer(signal.ITIMER_REAL, _lots.uniform(SHORTEST_S, LONGEST_S))


def _raise(number: int, frame: Any) -> None:
    global _left
    _left -= 1
    if _left > 0:
        _strike_later()
    elif _left == 0:
        journal.write("over")
    raise _lots.choice(KINDS)("deliberate: too late")


signal.signal(signal.SIGALRM, _raise)


def _hail(query: dict[str, str]) -> None:
    global _left
    if not _left:
        _left = int(query["times"])
        signal.setitimer(signal.ITIMER_REAL, FIRST_S)


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    digest = hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()
    if environ["PATH_INFO"] == "/hail":
        _hail(parameters(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Length", str(len(digest)))])
    return [digest]


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError("there is nothing to set up")
    content, more = hashlib.sha256(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        content.update(message["body"])
        more = message["more_body"]
    if scope["path"] == "/hail":
        _hail(parameters(scope["query_string"].decode("latin-1")))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": content.hexdigest().encode()})
