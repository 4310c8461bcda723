"""A small application written with Starlette (ASGI), with a lifespan, a background task and endpoints in threads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from support import journal


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    yield {"greeting": "Hello"}
    journal.write("lifespan ended")


async def hello(request: Request) -> Response:
    return PlainTextResponse(f"{request.state.greeting}, {request.path_params['name']}!")


async def json(request: Request) -> Response:
    return JSONResponse(await request.json())


async def stream(request: Request) -> Response:
    async def rows() -> AsyncIterator[str]:
        for row in range(1000):
            yield f"row {row}\n"

    return StreamingResponse(rows(), media_type="text/plain")


async def events(request: Request) -> Response:
    """After the first event it waits for another one, as a chat does, and none comes."""

    async def first() -> AsyncIterator[str]:
        try:
            yield "data: the first\n\n"
            await asyncio.Event().wait()
        finally:
            journal.write("events ended")

    return StreamingResponse(first(), media_type="text/event-stream")


async def echo(request: Request) -> Response:
    """Reads the request's body while it answers."""
    return StreamingResponse(request.stream(), media_type="text/plain")


def cookies(request: Request) -> Response:
    """Not a coroutine: Starlette runs it in a thread."""
    response = JSONResponse(dict(request.cookies))
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


async def background(request: Request) -> Response:
    token = request.query_params["token"]
    return PlainTextResponse("later", background=BackgroundTask(journal.write, f"background {token}"))


async def fail(request: Request) -> Response:
    raise RuntimeError("deliberate")


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/hello/{name}", hello),
        Route("/json", json, methods=["POST"]),
        Route("/stream", stream),
        Route("/events", events),
        Route("/echo", echo, methods=["POST"]),
        Route("/cookies", cookies),
        Route("/background", background),
        Route("/fail", fail),
    ],
)
