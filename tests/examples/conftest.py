"""The guestbook's stores, each made anew for a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from support.redis_server import RedisServer

STORES = ("sqlite", "redis")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A value of GUESTBOOK_STORE that names an empty store, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/book.sqlite3"
    server = request.getfixturevalue("redis_server")
    with redis.Redis(port=server.port) as client:
        client.flushall()
    return str(server.url)
