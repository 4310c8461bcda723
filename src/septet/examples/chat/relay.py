"""How a line reaches the rooms of all processes: at once where there is one, else by Redis's pub/sub.

CHAT_RELAY has the URL of a Redis server; without it lines stay in their process. A subscription belongs to an event
loop, and a process may be forked for each client. So a room subscribes when its first member comes, and as long as it
has members.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any, Protocol

from septet.errors import Failed, UsageError
from septet.examples.chat.room import Room

VARIABLE = "CHAT_RELAY"
CHANNEL = "septet:chat"


class RelayUnavailable(Exception):
    """Redis does not answer."""


class Relay(Protocol):
    """Passes lines on to rooms."""

    async def publish(self, line: str) -> None:
        """Pass a line on. Raises RelayUnavailable."""

    async def follow(self, room: Room, begun: asyncio.Event) -> None:
        """Tell the room every line, until cancelled; `begun` is set when none is missed any more. Raises
        RelayUnavailable."""


def open_relay(environment: Mapping[str, str] = os.environ) -> Relay:
    """The relay that the environment names. Raises UsageError and Failed."""
    url = environment.get(VARIABLE)
    if not url:
        return WithinProcess()
    if not url.startswith(("redis://", "rediss://")):
        raise UsageError(f"{VARIABLE}: {url!r} names no relay; allowed is redis://HOST:PORT/DB")
    try:
        return ThroughRedis(url)
    except ModuleNotFoundError:
        raise Failed(f"{VARIABLE} asks for Redis, but its client is missing: pip install 'septet[redis]'") from None


class WithinProcess:
    """The relay of a single process."""

    def __init__(self) -> None:
        self._room: Room | None = None

    async def publish(self, line: str) -> None:
        if self._room is not None:
            self._room.tell(line)

    async def follow(self, room: Room, begun: asyncio.Event) -> None:
        self._room = room
        begun.set()
        await asyncio.get_running_loop().create_future()


class ThroughRedis:
    """The relay of several processes."""

    def __init__(self, url: str) -> None:
        import redis.asyncio

        self._url = url
        self._redis: Any = redis.asyncio
        self._error: type[Exception] = redis.RedisError

    async def publish(self, line: str) -> None:
        try:
            async with self._redis.from_url(self._url) as client:
                await client.publish(CHANNEL, line)
        except (self._error, OSError) as error:
            raise RelayUnavailable(str(error)) from error

    async def follow(self, room: Room, begun: asyncio.Event) -> None:
        try:
            async with self._redis.from_url(self._url) as client, client.pubsub() as subscription:
                await subscription.subscribe(CHANNEL)
                async for message in subscription.listen():
                    if message["type"] == "message":
                        room.tell(message["data"].decode())
                    else:
                        begun.set()
        except (self._error, OSError) as error:
            raise RelayUnavailable(str(error)) from error
