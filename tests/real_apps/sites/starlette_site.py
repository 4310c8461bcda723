"""Starlette: state of lifespan, sessions, endpoints in threads, streams, static files, a form."""

import contextvars
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from real_apps.sites.data import DIRECTORY
from real_apps.sizes import LINE_BYTES, LINES
from support import journal

who: contextvars.ContextVar[str] = contextvars.ContextVar("who")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    yield {"greeting": "Hello"}
    journal.write("lifespan ended")


class Hello(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return PlainTextResponse(f"{request.state.greeting}, {request.path_params['name']}!")


async def stream(request: Request) -> Response:
    who.set(request.query_params["who"])

    async def lines() -> AsyncIterator[str]:
        for _ in range(LINES):
            yield f"{who.get()}{'.' * LINE_BYTES}\n"

    return StreamingResponse(lines(), media_type="text/plain")


async def echo(request: Request) -> Response:
    """Reads all first: while Starlette answers it may look out for a disconnection, and take the body's pieces."""
    pieces = [piece async for piece in request.stream()]

    async def again() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return StreamingResponse(again(), media_type="application/octet-stream")


async def form(request: Request) -> Response:
    async with request.form() as values:
        return JSONResponse({"title": values["title"], "size": values["file"].size})


def visits(request: Request) -> Response:
    """Not a coroutine: Starlette runs it in a thread."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JSONResponse(request.session["visits"])


async def background(request: Request) -> Response:
    token = request.query_params["token"]
    return PlainTextResponse("later", background=BackgroundTask(journal.write, f"background {token}"))


class Talk(WebSocketEndpoint):
    encoding = "json"

    async def on_connect(self, websocket: WebSocket) -> None:
        await websocket.accept(subprotocol=websocket.scope["subprotocols"][0], headers=[(b"x-talk", b"yes")])
        await websocket.send_text(f"{websocket.state.greeting}, {websocket.path_params['name']}!")

    async def on_receive(self, websocket: WebSocket, data: object) -> None:
        await websocket.send_json({"you said": data})

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        journal.write(f"talk with {websocket.path_params['name']} ended {close_code}")


async def closed(websocket: WebSocket) -> None:
    """Refused with a page: the extension `websocket.http.response`."""
    await websocket.send_denial_response(PlainTextResponse("not today", 418))


async def away(request: Request) -> Response:
    return RedirectResponse(request.url_for("hello", name="you"))


app = Starlette(
    lifespan=lifespan,
    middleware=[Middleware(SessionMiddleware, secret_key="for tests only")],
    routes=[
        Route("/hello/{name}", Hello, name="hello"),
        Route("/stream", stream),
        Route("/echo", echo, methods=["POST"]),
        Route("/form", form, methods=["POST"]),
        Route("/visits", visits),
        Route("/background", background),
        Route("/away", away),
        WebSocketRoute("/talk/{name}", Talk),
        WebSocketRoute("/closed", closed),
        Mount("/static", StaticFiles(directory=DIRECTORY / "static")),
    ],
)
