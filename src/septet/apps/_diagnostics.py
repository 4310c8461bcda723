"""Log messages about requests whose application raised, and requests that ask for a WebSocket (RFC 6455).

There is no WebSocket here yet. Such a request reaches the application as an ordinary GET, as RFC 9110 section 7.8
allows for an Upgrade field that is ignored. Most frameworks have no such page and answer 404, WebSocket libraries
raise, and the client keeps asking; so the cause is logged once, and what the application raises in one line.
"""

import logging
import mmap

from septet.exchange import ClientGone, Request, stems_from_client

log = logging.getLogger("septet")

_warned = mmap.mmap(-1, 1)
"""One byte, 1 after the warning. Shared with all forked processes: under `forking` each client has a process of its
own, and a page that asks again every second would fill the log."""

_MAX_PATH_SHOWN = 100
"""Characters of the path in the warning."""


def asks_for_websocket(request: Request) -> bool:
    """True if the request is the opening handshake of a WebSocket (RFC 6455 section 4.1)."""
    return request.upgrade is not None and request.upgrade.lower() == b"websocket" and request.method == "GET"


def warn_of_websocket(request: Request) -> None:
    """Log a warning, once for all processes, if the request asks for a WebSocket."""
    if _warned[0] or not asks_for_websocket(request):
        return
    _warned[0] = 1
    log.warning(
        "a client asks for a WebSocket at %.*s, and Septet has none yet: the request is served as an ordinary one. Let "
        "clients use polling, or have a proxy send these requests to a server with WebSocket. (Said once.)",
        _MAX_PATH_SHOWN,
        request.path.decode("ascii"),
    )


def log_raised(request: Request, error: BaseException, client_left: bool = False) -> None:
    """Log an exception that came out of the application. Call it in the `except` block that caught the exception.

    The level depends on the cause: debug or info if the client left, else error. `client_left`: the application has
    received `http.disconnect`, after which frameworks raise exceptions of their own. For a request of a WebSocket the
    message is one line without a traceback.
    """
    at = f"{request.method} {request.target.decode('ascii')}"
    try:
        _log_by_fault(request, error, client_left, at)
    except BaseException:  # the exception is an object of the application's, and may raise whatever is asked of it
        log.error("the application raised %s at %s, which cannot be shown", type(error).__name__, at)


def _log_by_fault(request: Request, error: BaseException, client_left: bool, at: str) -> None:
    if isinstance(error, ClientGone):
        log.debug("the client went away at %s: %s", at, error)
    elif client_left or stems_from_client(error):
        traceback = log.isEnabledFor(logging.DEBUG)
        log.info("the client left, and the application raised %r at %s", error, at, exc_info=traceback)
    elif asks_for_websocket(request):
        log.error("the application raised at %s, where a WebSocket was asked for: %r", at, error)
    else:
        log.exception("the application raised at %s", at)
