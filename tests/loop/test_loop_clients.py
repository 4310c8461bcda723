"""Other people's programs on our loops: an HTTP client and server, WebSockets, Redis, and an ASGI server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import aiohttp.web
import httpx
import pytest
import redis.asyncio
import uvicorn
import websockets.asyncio.client
import websockets.asyncio.server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from support.redis_server import RedisServer

Run = Callable[[Awaitable[Any]], Any]

BODY = bytes(range(256)) * 2000
"""Half a megabyte: more than any buffer on the way takes at once."""


async def echo_body(request: Request) -> Response:
    return Response(await request.body())


STARLETTE = Starlette(routes=[Route("/", echo_body, methods=["POST"])])


@asynccontextmanager
async def uvicorn_server() -> AsyncIterator[str]:
    """uvicorn in the running loop."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(STARLETTE, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.ensure_future(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        await task


def test_httpx_and_uvicorn(run: Run) -> None:
    async def main() -> None:
        async with uvicorn_server() as url, httpx.AsyncClient() as client:
            answers = await asyncio.gather(*(client.post(url, content=BODY) for _ in range(20)))
            assert {(answer.status_code, answer.content) for answer in answers} == {(200, BODY)}

    run(main())


def test_aiohttp_client_and_server(run: Run) -> None:
    async def echo(request: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(body=await request.read())

    async def main() -> None:
        application = aiohttp.web.Application(client_max_size=1 << 20)
        application.router.add_post("/", echo)
        runner = aiohttp.web.AppRunner(application)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await aiohttp.web.SockSite(runner, listener).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with aiohttp.ClientSession() as session:
            for _ in range(20):
                async with session.post(url, data=BODY) as answer:
                    assert await answer.read() == BODY
        await runner.cleanup()

    run(main())


def test_websockets(run: Run) -> None:
    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async def main() -> None:
        async with websockets.asyncio.server.serve(echo, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with websockets.asyncio.client.connect(f"ws://127.0.0.1:{port}/") as client:
                for message in ("hello", BODY, b"", "ß" * 10_000):
                    await client.send(message)
                    assert await client.recv() == message

    run(main())


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_redis(run: Run, redis_server: RedisServer) -> None:
    async def main() -> None:
        async with redis.asyncio.from_url(redis_server.url) as client:
            await client.set("septet:loop", BODY)
            assert await client.get("septet:loop") == BODY
            async with client.pipeline() as pipeline:
                for number in range(1000):
                    pipeline.rpush("septet:list", number)
                await pipeline.execute()
            assert await client.llen("septet:list") == 1000
            await client.delete("septet:loop", "septet:list")

    run(main())


def test_cancelled_requests_leave_the_client_whole(run: Run) -> None:
    """Time-outs at every stage of a request, and one that must succeed after all of them."""

    async def main() -> None:
        async with uvicorn_server() as url, httpx.AsyncClient() as client:
            for number in range(40):
                try:
                    async with asyncio.timeout(number * 0.0003):
                        await client.post(url, content=BODY)
                except (TimeoutError, httpx.HTTPError):
                    pass
            answer = await client.post(url, content=BODY)
            assert answer.content == BODY

    run(main())
