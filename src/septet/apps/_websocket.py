"""A WebSocket (RFC 6455) is asked for, and there is none here yet: said once.

The request reaches the application as an ordinary GET, as RFC 9110 section 7.8 has it for an Upgrade field that is
ignored; most frameworks have no such page and answer 404, libraries for WebSocket raise, and the client goes on asking.
"""

import logging
import mmap

from septet.exchange import Request

log = logging.getLogger("septet")

_said = mmap.mmap(-1, 1)
"""Shared with all processes that are forked: under forking each client has one of its own, and a page that asks again
every second would fill the log."""

_SHOWN = 100


def asks_for_websocket(request: Request) -> bool:
    return request.upgrade is not None and request.upgrade.lower() == b"websocket" and request.method == "GET"


def warn_of_websocket(request: Request) -> None:
    """Say once, if the request asks for one."""
    if _said[0] or not asks_for_websocket(request):
        return
    _said[0] = 1
    log.warning(
        "a client asks for a WebSocket at %.*s, and Septet has none yet: the request is served as an ordinary one. Let "
        "clients use polling, or have a proxy send these requests to a server with WebSocket. (Said once.)",
        _SHOWN,
        request.path.decode("ascii"),
    )
