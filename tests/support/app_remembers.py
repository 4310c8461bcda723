"""Applications that tell, in the journal, when the objects of a request are gone."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from support import journal
from support.apps_asgi import Receive, Scope, Send
from support.behaviour import Parameters, parameters


class Mark:
    """Something that a request refers to."""

    def __init__(self, what: str, query: Parameters) -> None:
        weakref.finalize(self, journal.write, f"{what} of {query['token']} is gone")


class Body:
    """An answer's iterable."""

    def __init__(self, query: Parameters) -> None:
        self.mark = Mark("body", query)
        self._parts = iter((b"fi", b"ne"))

    def __iter__(self) -> Iterator[bytes]:
        return self._parts


_collector: list[threading.Thread] = []


def _collect() -> None:
    while True:
        gc.collect()
        time.sleep(0.05)


def _begin() -> None:
    """What refers to itself goes with the next collection: it is the server's references that are looked for."""
    if not _collector:
        _collector.append(threading.Thread(target=_collect, daemon=True))
        _collector[0].start()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    _begin()
    query = parameters(environ["QUERY_STRING"])
    environ["mark"] = Mark("request", query)
    weakref.finalize(environ["wsgi.input"], journal.write, f"input of {query['token']} is gone")
    environ["wsgi.input"].read()
    here = Mark("frame", query)
    if environ["PATH_INFO"] == "/raises":
        raise RuntimeError("deliberate", here)
    start_response("200 OK", [("Content-Length", "4")])
    return Body(query) if environ["PATH_INFO"] == "/parts" else [b"fine"]


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError("deliberate: it is not known here")
    _begin()
    query = parameters(scope["query_string"].decode("latin-1"))
    scope["mark"] = Mark("request", query)
    here = Mark("frame", query)
    await receive()
    if scope["path"] == "/raises":
        raise RuntimeError("deliberate", here)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    if scope["path"] == "/parts":
        await send({"type": "http.response.body", "body": b"fi", "more_body": True, "mark": Mark("body", query)})
        await send({"type": "http.response.body", "body": b"ne"})
    else:
        await send({"type": "http.response.body", "body": b"fine"})
