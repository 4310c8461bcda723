"""The guestbook as an ASGI 3 application (scopes `http` and `lifespan`), with a store for event loops."""

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any

from septet.examples.guestbook import form, site
from septet.examples.guestbook.book import StoreUnavailable, Visit
from septet.examples.guestbook.page import REMARKS_SHOWN, Press
from septet.examples.guestbook.store import open_async_store

Event = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

_log = logging.getLogger("septet.examples.guestbook")
_store = open_async_store()
_press = Press()


class ClientLeft(Exception):
    """The client has gone before its request was complete: there is nothing to answer."""


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application; may run on any number of event loops, in any thread and process."""
    if scope["type"] == "lifespan":
        return await _live(receive, send)
    if scope["type"] != "http":
        raise NotImplementedError(f"the guestbook has no answer to ASGI's scope {scope['type']!r}")
    try:
        response = await _respond(scope, receive)
    except ClientLeft:
        return None
    headers = _as_bytes(response.headers)
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    return await send({"type": "http.response.body", "body": _body(response, scope["method"])})


async def _live(receive: Receive, send: Send) -> None:
    """Handle the lifespan (ASGI's events of start and end). Nothing is started, because stores open at the first
    request; at the end their connections are closed.
    """
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await _store.close()
    await send({"type": "lifespan.shutdown.complete"})


async def _respond(scope: Scope, receive: Receive) -> site.Response:
    step = site.decide(scope["method"], scope["path"], _header(scope, b"if-none-match"))
    if isinstance(step, site.Response):
        return step
    try:
        return await _take(step, scope, receive)
    except form.FormError as error:
        return site.form_refused(error)
    except StoreUnavailable as error:
        _log.error("%s", error)
        return site.store_unavailable()


async def _take(step: site.Step, scope: Scope, receive: Receive) -> site.Response:
    match step:
        case site.Step.VIEW:
            return await _view(await _store.count_view())
        case site.Step.PEEK:
            return await _view(await _store.peek())
        case site.Step.LEAVE:
            body = await _read_body(receive)
            await _store.add(form.parse(_header(scope, b"content-type"), body, int(time.time())))
            return site.remark_kept()


async def _view(visit: Visit) -> site.Response:
    printed = _press.find(visit.edition) or _press.print(visit.edition, await _store.latest(REMARKS_SHOWN))
    return site.view(printed, visit.views)


async def _read_body(receive: Receive) -> bytes:
    """Receive the request's body. Raises FormError for more than BODY_LIMIT bytes, ClientLeft if the client goes."""
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientLeft
        part: bytes = event.get("body", b"")
        body += part
        if len(body) > form.BODY_LIMIT:
            raise form.too_large()
        if not event.get("more_body", False):
            return body


def _body(response: site.Response, method: str) -> bytes:
    """Return the bytes of an answer's body; none for HEAD. A file is read on the event loop: to read a few KiB from the
    page cache takes less time than to hand this to a thread.
    """
    if isinstance(response.body, bytes):
        return b"" if method == "HEAD" else response.body
    with response.body as file:
        return bytes(file.readall())


def _header(scope: Scope, name: bytes) -> str:
    """Return the value of the first field of this name, or ""; ASGI has names in lower case."""
    return next((value.decode("latin-1") for field, value in scope["headers"] if field == name), "")


@lru_cache(maxsize=16)
def _as_bytes(headers: site.Headers) -> list[tuple[bytes, bytes]]:
    """Return header fields in the form of ASGI: pairs of bytes, with names in lower case. A few results are cached,
    because most answers have the same fields.
    """
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
