"""Applications where the library of WebSockets is not installed: `plain`, and `routed`, which has routes for them."""

import sys

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from support.apps_asgi import app as plain

__all__ = ["plain", "routed"]

sys.modules["websockets"] = None  # type: ignore[assignment]  # for `import` it does not exist


async def talk(socket: WebSocket) -> None:
    await socket.accept()


routed = Starlette(routes=[WebSocketRoute("/talk", talk)])
