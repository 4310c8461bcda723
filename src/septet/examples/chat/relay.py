"""Passes a line on to the rooms of all processes: directly if there is one process, else by Redis's pub/sub.

CHAT_RELAY is the URL of a Redis server; without it a line stays in its process. A subscription belongs to an event
loop, and under the model forking each client has a process. So a room subscribes when its first member comes, and
unsubscribes when its last member has left.
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
    """Passes lines, which are what members of the chat write, on to the rooms; each process has a room with the members
    that it serves. `open_relay` chooses the implementation.
    """

    async def publish(self, line: str) -> None:
        """Pass a line, which a member of the chat has written, on to the rooms of all processes. Raises
        RelayUnavailable.
        """

    async def follow(self, room: Room, begun: asyncio.Event) -> None:
        """Give the room every line that is published, until this coroutine is cancelled. The event `begun` is set as
        soon as lines that are published reach the room. Raises RelayUnavailable.
        """


def open_relay(environment: Mapping[str, str] = os.environ) -> Relay:
    """Return the relay that CHAT_RELAY asks for. Raises UsageError for a wrong URL, and Failed if the package for Redis
    is missing.
    """
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
    """The relay of a server with one process."""

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
    """The relay of a server with several processes, through Redis's pub/sub."""

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
