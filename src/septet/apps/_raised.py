"""What an application raises, in the log: who is to blame decides how loudly."""

import logging

from septet.apps._websocket import asks_for_websocket
from septet.exchange import ClientGone, Request, stems_from_client

log = logging.getLogger("septet")


def log_raised(request: Request, error: BaseException, client_left: bool = False) -> None:
    """Tell of an exception that came out of the application at a request. Called in the `except` that caught it.

    An application whose client left is not to blame: frameworks raise an exception of their own then. Where a
    WebSocket was asked for, a line will do: clients go on asking, and the cause has been told (see `_websocket`).
    """
    at = f"{request.method} {request.target.decode('ascii')}"
    if isinstance(error, ClientGone):
        log.debug("the client went away at %s: %s", at, error)
    elif client_left or stems_from_client(error):
        traceback = log.isEnabledFor(logging.DEBUG)
        log.info("the client left, and the application raised %r at %s", error, at, exc_info=traceback)
    elif asks_for_websocket(request):
        log.error("the application raised at %s, where a WebSocket was asked for: %r", at, error)
    else:
        log.exception("the application raised at %s", at)
