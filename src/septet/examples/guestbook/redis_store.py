"""The guestbook in Redis: one hash (views, edition) and one list (the remarks as JSON, newest first).

Both clients of redis-py send the same commands, queued here by plain functions: a view is two commands in one round
trip. Nothing is retried: a command whose answer was lost may have been done, and a remark must not appear twice. A
connection that the server has closed meanwhile is replaced by the pool before anything is sent on it.
"""

import asyncio

# Connecting needs this codec. Imported here it is there before a server forks, not read again by every child.
import encodings.idna  # noqa: F401
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from septet.examples.guestbook.book import REMARKS_KEPT, Remark, StoreUnavailable, Visit

BOOK = "septet:guestbook:book"
REMARKS = "septet:guestbook:remarks"

# Redis answers in less than a millisecond. After seconds it counts as unavailable, and the visitor is told so.
REDIS_TIMEOUT_S = 5.0

# Redis works on one command at a time, so more connections add no speed, only descriptors: 1,000 threads or tasks
# share these and wait for one at most as long as for an answer.
CONNECTIONS_PER_PROCESS = 16

Commands = Callable[[Any], object]  # queues commands on a pipeline of either client


class RedisStore:
    """A `book.Store` with the blocking client of redis-py. The client's connection pool is made for threads, and begins
    anew in a forked child.
    """

    def __init__(self, url: str) -> None:
        self._name = _without_password(url)
        pool = redis.BlockingConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **_pool_options())
        self._client = redis.Redis(connection_pool=pool)

    def count_view(self) -> Visit:
        return _visit(self._run(_count_view))

    def peek(self) -> Visit:
        return _visit(self._run(_peek))

    def latest(self, number: int) -> list[Remark]:
        return _remarks(self._run(lambda pipeline: pipeline.lrange(REMARKS, 0, number - 1)))

    def add(self, remark: Remark) -> None:
        self._run(lambda pipeline: _add(pipeline, remark), transaction=True)

    def close(self) -> None:
        self._client.connection_pool.disconnect()

    def _run(self, queue: Commands, transaction: bool = False) -> list[Any]:
        pipeline = self._client.pipeline(transaction=transaction)
        queue(pipeline)
        try:
            return pipeline.execute()
        except redis.RedisError as error:
            raise _unavailable(self._name, error) from error


class AsyncRedisStore:
    """`book.AsyncStore` with the asyncio client, one client per event loop.

    Under the model forking each child has a loop, and other servers have one for each thread, so loops come and go. A
    client's connections belong to its loop and must be closed on it. A loop that is about to end closes its
    asynchronous generators (loop.shutdown_asyncgens), so each client lives in one.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._name = _without_password(url)
        self._by_loop: dict[
            asyncio.AbstractEventLoop, tuple[redis.asyncio.Redis, AsyncGenerator[redis.asyncio.Redis, None]]
        ] = {}

    async def count_view(self) -> Visit:
        return _visit(await self._run(_count_view))

    async def peek(self) -> Visit:
        return _visit(await self._run(_peek))

    async def latest(self, number: int) -> list[Remark]:
        return _remarks(await self._run(lambda pipeline: pipeline.lrange(REMARKS, 0, number - 1)))

    async def add(self, remark: Remark) -> None:
        await self._run(lambda pipeline: _add(pipeline, remark), transaction=True)

    async def close(self) -> None:
        entry = self._by_loop.get(asyncio.get_running_loop())
        if entry is not None:
            await entry[1].aclose()

    async def _run(self, queue: Commands, transaction: bool = False) -> list[Any]:
        entry = self._by_loop.get(asyncio.get_running_loop())
        client = entry[0] if entry else await self._begin()
        pipeline = client.pipeline(transaction=transaction)
        queue(pipeline)
        try:
            return await pipeline.execute()
        except (redis.RedisError, OSError) as error:
            raise _unavailable(self._name, error) from error

    async def _begin(self) -> redis.asyncio.Redis:
        for loop in list(self._by_loop):  # a copy: other threads' loops come and go meanwhile
            if loop.is_closed():
                self._by_loop.pop(loop, None)
        generator = self._client_of_loop()
        # The generator gets to its yield without waiting, so two tasks cannot both come here.
        client = await anext(generator)
        self._by_loop[asyncio.get_running_loop()] = (client, generator)
        return client

    async def _client_of_loop(self) -> AsyncGenerator[redis.asyncio.Redis, None]:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            self._url, retry=AsyncRetry(NoBackoff(), 0), **_pool_options()
        )
        client = redis.asyncio.Redis(connection_pool=pool)
        try:
            yield client
        finally:
            self._by_loop.pop(asyncio.get_running_loop(), None)
            await pool.disconnect()


def _pool_options() -> dict[str, Any]:
    # The client would tell the server its own version, which it reads from the metadata of its package for each
    # connection. Under the model forking, where a page has a connection of its own, that cost 2 of 5.4 bare forks.
    silent = {"driver_info": None} if hasattr(redis, "driver_info") else {}
    return silent | {
        "max_connections": CONNECTIONS_PER_PROCESS,
        "timeout": REDIS_TIMEOUT_S,
        "socket_timeout": REDIS_TIMEOUT_S,
        "socket_connect_timeout": REDIS_TIMEOUT_S,
    }


def _count_view(pipeline: Any) -> None:
    pipeline.hincrby(BOOK, "views", 1)
    pipeline.hget(BOOK, "edition")


def _peek(pipeline: Any) -> None:
    pipeline.hget(BOOK, "views")
    pipeline.hget(BOOK, "edition")


def _add(pipeline: Any, remark: Remark) -> None:
    pipeline.lpush(REMARKS, json.dumps(asdict(remark)))
    pipeline.ltrim(REMARKS, 0, REMARKS_KEPT - 1)
    pipeline.hincrby(BOOK, "edition", 1)


def _visit(answers: list[Any]) -> Visit:
    views, edition = answers
    return Visit(int(views or 0), int(edition or 0))  # None: nothing was counted or written yet


def _remarks(answers: list[Any]) -> list[Remark]:
    (entries,) = answers
    return [Remark(**json.loads(entry)) for entry in entries]


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _unavailable(name: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"the guestbook's store {name} cannot be used: {error}")
