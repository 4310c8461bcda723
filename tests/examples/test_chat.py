"""The chat: its lines and its room, and by way of Redis where processes are several."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from septet.errors import UsageError
from septet.examples.chat.line import NAME_LIMIT, TEXT_LIMIT, NotALine, parse
from septet.examples.chat.relay import WithinProcess, open_relay
from septet.examples.chat.room import LINES_KEPT, LINES_WAITING, Room
from support.redis_server import RedisServer
from support.server import Server, serve
from support.waiting import PATIENCE_S

APP = "septet.examples.chat:asgi"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def dial(server: Server) -> ClientConnection:
    assert isinstance(server.address, tuple)
    return connect("ws://{}:{}/chat/socket".format(*server.address), proxy=None, open_timeout=PATIENCE_S)


@pytest.mark.parametrize(("model", "options"), [("preforked", ("--workers", "2")), ("forking", ())])
def test_processes_chat_through_redis(model: str, options: tuple[str, ...], redis: RedisServer) -> None:
    with (
        serve(model, "asgi", *options, app=APP, environment={"CHAT_RELAY": redis.url}) as server,
        dial(server) as anna,
        dial(server) as berta,
    ):
        for speaker, text in ((anna, "one"), (berta, "two")):
            speaker.send(json.dumps({"name": "me", "text": text}))
            for member in (anna, berta):
                assert json.loads(member.recv(PATIENCE_S))["text"] == text


def test_redis_that_is_not_there() -> None:
    with serve("epoll", "asgi", app=APP, environment={"CHAT_RELAY": "redis://127.0.0.1:1/0"}) as server:
        with pytest.raises(InvalidStatus):
            dial(server)
        assert "the chat's Redis is not available" in server.stderr()


def test_what_is_no_line_ends_the_conversation() -> None:
    with serve("epoll", "asgi", app=APP) as server, dial(server) as member:
        member.send("hello")
        with pytest.raises(ConnectionClosed):
            member.recv(PATIENCE_S)
        assert (member.close_code, member.close_reason) == (1008, 'a line is {"name": ..., "text": ...}')


@pytest.mark.parametrize(
    "said",
    ["", "[]", "{}", "1", '{"name": 1, "text": "x"}', '{"name": "x", "text": "  "}', None],
)
def test_what_is_no_line(said: str | None) -> None:
    with pytest.raises(NotALine):
        parse(said)


def test_lines() -> None:
    line = json.loads(parse(json.dumps({"name": "  A \n B ", "text": " x " + "y" * (TEXT_LIMIT - 3)})))
    assert line["name"] == "A B"
    assert line["text"].startswith("x y")
    assert json.loads(parse('{"name": "", "text": "x"}'))["name"] == "somebody"
    for name, text in (("n" * (NAME_LIMIT + 1), "x"), ("n", "x" * (TEXT_LIMIT + 1))):
        with pytest.raises(NotALine):
            parse(json.dumps({"name": name, "text": text}))


async def _rest(room: Room) -> list[str]:
    member = room.enter()
    return [await member.next() for _ in range(LINES_KEPT)]


def test_a_room_keeps_no_more_than_it_says() -> None:
    async def run() -> None:
        room = Room()
        slow = room.enter()
        for number in range(LINES_WAITING + 5):
            room.tell(str(number))
        assert await slow.next() == "5"
        assert await _rest(room) == [str(number) for number in range(LINES_WAITING + 5)][-LINES_KEPT:]

    asyncio.run(run())


def test_relays() -> None:
    assert isinstance(open_relay({}), WithinProcess)
    with pytest.raises(UsageError, match="names no relay"):
        open_relay({"CHAT_RELAY": "nats://x"})
