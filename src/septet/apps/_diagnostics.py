"""Log messages about requests whose application raised, and requests that ask for a WebSocket where there is none.

A request for a WebSocket reaches such an application as an ordinary GET, as RFC 9110 section 7.8 allows for an Upgrade
field that is ignored. Most frameworks have no page at a WebSocket's path and answer 404, WebSocket libraries raise, and
the client keeps asking. So the cause is logged once, and an exception is logged in one line, without a traceback.
"""

import logging
import mmap
from asyncio import CancelledError

from septet.exchange import ClientGone, Request, stems_from_client
from septet.websocket.handshake import asks_for_websocket

log = logging.getLogger("septet")

_warned = mmap.mmap(-1, 1)
"""One byte of memory: 1 once the warning about WebSockets was logged. Shared with all forked processes: under `forking`
each client has a process of its own, and a page that asks again every second would fill the log.
"""

_MAX_PATH_SHOWN = 100
"""Most characters of a request's path that the warning about WebSockets shows."""


WITH_WSGI = "an application that speaks WSGI has none"
"""Why there is no WebSocket: WSGI has none. A value for the argument `why` of `warn_of_websocket`."""


def warn_of_websocket(request: Request, why: str) -> None:
    """Log a warning if the request asks for a WebSocket, once for all processes of the server. `why` says in words why
    there is no WebSocket.
    """
    if _warned[0] or not asks_for_websocket(request):
        return
    _warned[0] = 1
    log.warning(
        "a client asks for a WebSocket at %.*s, and %s: the request is served as an ordinary one. (Said once.)",
        _MAX_PATH_SHOWN,
        request.path.decode("ascii"),
        why,
    )


def log_raised(request: Request, error: BaseException, client_left: bool = False, in_websocket: bool = False) -> None:
    """Log an exception that came out of the application. Call it in the `except` block that caught the exception.

    The level depends on the cause: debug or info if the client left, else error. `client_left`: the application has
    received `http.disconnect`, after which frameworks raise exceptions of their own. `in_websocket`: the application
    was called for a WebSocket. If not, and the request asks for one, the message is one line without a traceback.
    """
    at = f"{request.method} {request.target.decode('ascii')}"
    try:
        _log_by_fault(request, error, client_left, in_websocket, at)
    except BaseException:  # the exception is an object of the application's, and may raise whatever is asked of it
        log.error("the application raised %s at %s, which cannot be shown", type(error).__name__, at)


def _log_by_fault(request: Request, error: BaseException, client_left: bool, in_websocket: bool, at: str) -> None:
    if isinstance(error, ClientGone):
        log.debug("the client went away at %s: %s", at, error)
    elif client_left and isinstance(error, CancelledError):
        log.info("the connection has ended, and the application was cancelled at %s", at)
    elif client_left or stems_from_client(error):
        traceback = log.isEnabledFor(logging.DEBUG)
        log.info("the client left, and the application raised %r at %s", error, at, exc_info=traceback)
    elif asks_for_websocket(request) and not in_websocket:
        log.error("SEP141 the application raised at %s, where a WebSocket was asked for: %r", at, error)
    else:
        log.exception("SEP141 the application raised at %s", at)
