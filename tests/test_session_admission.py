"""A session asks for admission of each request, and releases it exactly once."""

import io

import pytest

from septet.protocol import CLOSE, READ, RUN, WRITE
from septet.rules import Rules
from support.carrier import Watched, ok, write_all
from support.messages import render

GET = render("GET", "/")
POST = render("POST", "/", body=b"12345")


class Room:
    """An `Admission` for one request at a time that counts its calls."""

    def __init__(self) -> None:
        self.free = 1

    def enter(self) -> bool:
        if not self.free:
            return False
        self.free -= 1
        return True

    def leave(self) -> None:
        self.free += 1
        assert self.free <= 1


def begun(room: Room, data: bytes, spool: bool = False) -> Watched:
    session = Watched(Rules(admission=room, spool=io.BytesIO if spool else None))
    session.receive(data)
    return session


def test_a_place_from_the_head_to_the_end_of_the_answer() -> None:
    room = Room()
    session = begun(room, GET[:-1])
    assert room.free == 1
    assert session.receive(GET[-1:]) is RUN
    session.respond(ok(), b"hello", True)
    assert room.free == 0
    write_all(session)
    assert (room.free, session.want) == (1, READ)


def test_every_request_of_a_connection_asks_anew() -> None:
    """A head in the cache takes a shorter path through the code; both paths ask for admission."""
    room = Room()
    session = begun(room, GET)
    for _ in range(3):
        session.respond(ok(), b"hello", True)
        write_all(session)
        assert room.free == 1
        assert session.receive(GET) is RUN
        assert room.free == 0


@pytest.mark.parametrize("spool", [False, True])
def test_no_room(spool: bool) -> None:
    """The refused request's body is discarded, and the next bytes are a new request."""
    room = Room()
    room.enter()
    session = begun(room, POST[:-1], spool)
    answer = write_all(session)
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nRetry-After: 1\r\n" in answer
    assert b"Connection: close" not in answer
    room.leave()
    assert session.receive(POST[-1:]) is READ
    assert session.receive(GET) is RUN
    assert room.free == 0


def test_no_room_for_what_is_too_large_to_be_passed_over() -> None:
    room = Room()
    room.enter()
    session = begun(room, render("POST", "/", "Content-Length: 1000000"))
    assert b"\r\nConnection: close\r\n" in write_all(session)
    assert session.want is CLOSE
    session.close()
    assert room.free == 0


@pytest.mark.parametrize("spool", [False, True])
def test_a_lost_client_gives_its_place_back(spool: bool) -> None:
    room = Room()
    session = begun(room, POST[:-1], spool)
    assert room.free == 0
    session.lose()
    session.close()
    session.close()
    assert room.free == 1


def test_what_is_no_request_needs_no_place() -> None:
    room = Room()
    room.enter()
    session = begun(room, b"nonsense\r\n\r\n")
    assert session.want is WRITE
    assert write_all(session).startswith(b"HTTP/1.1 400 ")
