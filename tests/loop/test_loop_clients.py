"""Third-party libraries on our loops: HTTP clients and servers, WebSockets, anyio, files, Redis and PostgreSQL."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiofiles
import aiohttp
import aiohttp.web
import anyio
import asyncpg
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

from support.needs import lacking
from support.postgres_server import postgres_programs, postgres_server
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


@pytest.fixture(scope="module")
def postgres() -> Iterator[dict[str, str]]:
    """What asyncpg needs to connect. On a machine where it may, `make test` has installed the server."""
    programs = postgres_programs()
    if programs is None:
        lacking("PostgreSQL", "postgresql")
    with postgres_server(programs) as where:
        yield where


def test_asyncpg(run: Run, postgres: dict[str, str]) -> None:
    """Concurrent statements through a pool, a large COPY, and a notification from another session."""

    async def main() -> None:
        async with asyncpg.create_pool(**postgres, min_size=2, max_size=8) as pool:
            await pool.execute("DROP TABLE IF EXISTS bodies; CREATE TABLE bodies (n int PRIMARY KEY, body bytea)")
            records = [(number, BODY[: number * 100]) for number in range(500)]
            await pool.copy_records_to_table("bodies", records=records)
            statement = "SELECT body FROM bodies WHERE n = $1"
            fetched = await asyncio.gather(*(pool.fetchval(statement, number) for number, _ in records))
            assert fetched == [body for _, body in records]
            await hears_from_another_session(pool)

    run(main())


async def hears_from_another_session(pool: Any) -> None:
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with pool.acquire() as listener, pool.acquire() as speaker:

        def hear(connection: Any, pid: int, channel: str, payload: str) -> None:
            heard.set_result(payload)

        await listener.add_listener("septet", hear)
        await speaker.execute("NOTIFY septet, 'hello'")
        assert await heard == "hello"
        await listener.remove_listener("septet", hear)


def test_asyncpg_survives_cancellation(run: Run, postgres: dict[str, str]) -> None:
    """The connection serves the next statement after one that was cancelled. PostgreSQL does nothing about a
    cancellation that it reads before the statement has begun; then the statement runs to its end, so it takes a second.
    """

    async def main() -> None:
        connection = await asyncpg.connect(**postgres)
        for number in range(20):
            try:
                async with asyncio.timeout(number * 0.0005):
                    await connection.fetchval("SELECT pg_sleep(1)")
            except TimeoutError:
                pass
            assert await connection.fetchval("SELECT $1::int", number) == number
        await connection.close()

    run(main())


def test_aiofiles(run: Run, tmp_path: Path) -> None:
    async def there_and_back(path: Path) -> bytes:
        async with aiofiles.open(path, "wb") as file:
            await file.write(BODY)
        async with aiofiles.open(path, "rb") as file:
            return await file.read()

    async def main() -> None:
        bodies = await asyncio.gather(*(there_and_back(tmp_path / str(number)) for number in range(30)))
        assert set(bodies) == {BODY}

    run(main())


def test_anyio(run: Run) -> None:
    """A listener, clients in a task group, and the cancel scope that ends them all."""

    async def echo(client: anyio.abc.SocketStream) -> None:
        async with client:
            async for data in client:
                await client.send(data)

    async def ask(port: int) -> None:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream, anyio.create_task_group() as group:
            group.start_soon(stream.send, BODY)
            received = bytearray()
            while len(received) < len(BODY):
                received += await stream.receive()
            assert received == BODY

    async def main() -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as servers:
            servers.start_soon(listener.serve, echo)
            async with anyio.create_task_group() as clients:
                for _ in range(20):
                    clients.start_soon(ask, port)
            servers.cancel_scope.cancel()

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
