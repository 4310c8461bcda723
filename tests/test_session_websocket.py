"""A session that has become a WebSocket's: what it wants, its deadlines, its end. Without a clock and a socket."""

import gc
import weakref
from typing import Any

import pytest

from septet.exchange import ClientGone
from septet.protocol import CLOSE, EITHER, READ, RUN, WRITE
from septet.rules import Rules, Timeouts
from septet.session.http1 import Session
from septet.session.phases import LINGER, OVER
from septet.session.websocket import CLOSE_S, WebSockets, WebSocketSession
from septet.websocket.frames import FRAMES_AT_ONCE
from septet.websocket.tunnel import QUEUE_BYTES, TunnelOptions
from support.websocket import BINARY, PING, PONG, TEXT, frame, handshake
from support.websocket import CLOSE as CLOSING

ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
TIMES = Timeouts(write=10, linger=2, ping=20, pong=5, rate=0)
REASON = b"invalid opcode"
BIG = frame(BINARY, bytes(QUEUE_BYTES + 1))


class Counting:
    """An `Observer` and an `Admission`."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def began(self, exchange: Any) -> None:
        self.seen.append("began")

    def ended(self, exchange: Any) -> None:
        self.seen.append(f"ended {exchange.status}")

    def closed(self, exchange: Any) -> None:
        pass

    def enter(self) -> bool:
        self.seen.append("enter")
        return True

    def leave(self) -> None:
        self.seen.append("leave")


def rules(**timeouts: Any) -> Rules:
    return Rules(timeouts=Timeouts(**{"write": 10, "ping": 20, "pong": 5, **timeouts}), websocket=opener())


def opener() -> WebSockets:
    return WebSockets(TunnelOptions())


def opened(rules: Rules | None = None, early: bytes = b"", offer: tuple[str, ...] = ()) -> WebSocketSession:
    """Accepted, and the answer is sent."""
    session = Session(rules or Rules(timeouts=TIMES, websocket=opener()), ("192.0.2.1", 1), ("192.0.2.2", 80))
    assert session.receive(handshake("/", *offer) + early) is RUN
    same: Any = session
    same.upgrade(None, ())
    assert isinstance(same, WebSocketSession)
    assert sent(same).startswith(ANSWER)
    return same


def sent(session: WebSocketSession) -> bytes:
    """Take all output, as a carrier with much room."""
    session.noticed()
    data = b""
    while session.output:
        assert session.want in (EITHER, WRITE)
        data += bytes(session.output)
        session.wrote(len(session.output))
    return data


def test_an_exchange_is_upgraded() -> None:
    session = Session(Rules(websocket=opener()), None, ("/run/x", None))
    session.receive(handshake("/", "Sec-WebSocket-Protocol: a, b"))
    want = session.upgrade("b", ((b"X-More", b"1"),))
    assert want is EITHER
    assert bytes(session.output).startswith(ANSWER)
    assert b"Sec-WebSocket-Protocol: b\r\nX-More: 1\r\n" in bytes(session.output)
    assert session.exchange is session  # carriers and TLS hold it already
    assert session.status == 101


@pytest.mark.parametrize("name", [b"Upgrade", b"sec-websocket-accept", b"Content-Length", b"bad name"])
def test_fields_that_are_not_the_application_s(name: bytes) -> None:
    session = Session(Rules(websocket=opener()), None, ("/run/x", None))
    session.receive(handshake("/"))
    with pytest.raises(ValueError, match=r".+"):
        session.upgrade(None, ((name, b"1"),))
    assert type(session) is Session  # and may be answered in another way
    assert session.fail() is WRITE


def test_pings_of_a_client_that_does_not_read() -> None:
    """Their answers are bounded: beyond that the pings are kept, and counted as unread."""
    session = opened()
    ping = frame(PING, bytes(125))
    count = 0
    while session.want is not WRITE:
        session.receive(ping)
        count += 1
    waiting = session.in_memory
    assert waiting < 2 * QUEUE_BYTES
    session.receive(ping * 10)
    assert session.in_memory == waiting
    assert session.unread == len(ping) * 10
    assert len(sent(session)) == (count + 10) * 127
    assert session.want is READ


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("one", [frame(PING, b""), frame(0, b"", fin=False), frame(0, b"x", fin=False)])
def test_small_frames_are_taken_in_turns(one: bytes, deflate: bool) -> None:
    """64 KiB of them would keep a loop's other clients waiting: the rest is parsed when those had their turn."""
    offer = ("Sec-WebSocket-Extensions: permessage-deflate",) if deflate else ()
    session = opened(offer=offer)
    count = 60_000 // len(one)
    begun = frame(TEXT, b"", fin=False)
    assert session.receive(begun + one * count + frame(0, b"", fin=True)) is RUN
    turns = 1
    while session.behind:
        assert session.next_message() is None
        assert len(bytes(session.output)) <= 2 * FRAMES_AT_ONCE
        sent(session)
        session.catch_up()
        turns += 1
    assert turns == count // FRAMES_AT_ONCE + 1
    assert session.want is RUN
    session.noticed()
    assert session.next_message() == "x" * (count if b"x" in one else 0)
    sent(session)
    assert session.want is READ


def test_what_was_left_is_taken_before_the_end() -> None:
    session = opened()
    session.receive(frame(PING, b"") * (2 * FRAMES_AT_ONCE) + frame(CLOSING, b"\x0f\xa0bye"))
    assert session.behind
    assert session.closed is None
    session.receive(b"")
    assert session.closed == (4000, "bye")


def test_an_application_that_ends_leaves_nothing_behind() -> None:
    session = opened()
    session.receive(frame(PING, b"") * (2 * FRAMES_AT_ONCE))
    assert session.behind
    session.close_websocket(1000, "")
    session.detach()
    assert not session.behind
    session.receive(frame(PING, b"") * (2 * FRAMES_AT_ONCE) + frame(CLOSING, b"\x03\xe8"))
    assert not session.behind
    sent(session)
    assert session.want is CLOSE


def test_a_session_is_freed_when_it_is_over() -> None:
    session = opened()
    session.receive(frame(TEXT, b"hello"))
    protocol = weakref.ref(session.tunnel.frames)
    gc.disable()
    try:
        session.lose()
        session.close()
        assert session.next_message() == "hello"
        session.detach()
        del session
        assert protocol() is None
    finally:
        gc.enable()


def test_what_came_with_the_request_is_read() -> None:
    session = opened(early=frame(TEXT, b"early"))
    assert session.next_message() == "early"


def test_news_are_told_once() -> None:
    session = opened()
    assert session.want is READ
    assert session.receive(frame(TEXT, b"one")) is RUN
    assert session.receive(frame(TEXT, b"two")) is RUN
    session.noticed()
    assert session.want is READ
    assert [session.next_message() for _ in range(3)] == ["one", "two", None]
    assert session.receive(frame(TEXT, b"three")[:5]) is READ


def test_a_message_while_output_waits() -> None:
    """The application is told, and the output goes on."""
    session = opened()
    assert session.send_message("x") is EITHER
    assert session.receive(frame(TEXT, b"one")) is RUN
    session.noticed()
    assert session.want is EITHER
    assert sent(session) == b"\x81\x01x"


def test_reading_stops_when_too_much_waits() -> None:
    session = opened()
    assert session.receive(BIG) is RUN
    session.noticed()
    assert session.want is RUN  # still: a carrier that asks for room sees `unread`
    assert session.unread > QUEUE_BYTES
    assert session.held
    session.send_message("x")
    assert session.want is WRITE
    assert session.next_message() == bytes(QUEUE_BYTES + 1)
    assert session.resume() is EITHER
    sent(session)
    assert session.want is READ
    assert not session.held


def test_room_is_told_of_when_it_was_waited_for() -> None:
    session = opened()
    session.send_message("x" * 100)
    assert session.awaits_room()
    assert session.wrote(50) is EITHER
    assert session.wrote(len(session.output)) is RUN
    session.noticed()
    assert not session.awaits_room()
    session.send_message("x")
    assert session.wrote(len(session.output)) is READ


def test_silence_is_ended_by_a_ping_and_then_by_us() -> None:
    session = opened()
    assert [session.deadline(100.0), session.deadline(110.0)] == [120.0, 120.0]
    session.receive(frame(PONG, b""))
    assert session.deadline(115.0) == 135.0
    assert session.expire() is EITHER
    assert sent(session) == b"\x89\x00"
    assert session.deadline(135.0) == 140.0
    session.receive(frame(PONG, b""))
    assert session.deadline(136.0) == 156.0
    session.expire()
    sent(session)
    session.deadline(156.0)
    session.expire()
    assert session.closed == (1011, "no answer to a ping")
    assert sent(session) == b"\x88\x15\x03\xf3no answer to a ping"
    assert session.want is CLOSE


def test_without_pings_silence_may_last() -> None:
    session = opened(rules(ping=0, keep_alive=1, body=1, header=1))
    assert session.deadline(100.0) is None


def test_nothing_is_heard_of_a_client_from_which_nothing_is_read() -> None:
    session = opened()
    session.deadline(100.0)
    session.receive(BIG)
    session.noticed()
    assert session.deadline(110.0) is None
    session.next_message()
    session.resume()
    assert session.deadline(500.0) == 520.0


def test_a_client_that_does_not_read() -> None:
    """Its silence is no reason for a ping, which it would not read; it has the time of every answer."""
    session = opened()
    session.send_message("x" * 1000)
    assert session.deadline(100.0) == 110.0
    session.wrote(10)
    assert session.deadline(105.0) > 114.0
    assert session.expire() is CLOSE
    assert session.lost
    assert session.closed == (1006, "")
    with pytest.raises(ClientGone):
        session.send_message("more")


def test_close_of_the_client() -> None:
    session = opened()
    assert session.receive(frame(CLOSING, b"\x0f\xa0bye")) is RUN
    assert session.closed == (4000, "bye")
    assert sent(session) == b"\x88\x05\x0f\xa0bye"
    assert session.want is CLOSE
    assert not session.half_close()  # the client sends nothing more that a RST could answer


def test_close_of_the_application() -> None:
    session = opened()
    session.close_websocket(3000, "enough")
    assert sent(session) == b"\x88\x08\x0b\xb8enough"
    assert session.want is READ
    assert session.closed is None
    assert session.deadline(50.0) == 50.0 + CLOSE_S
    session.receive(frame(TEXT, b"crossed on the way"))
    session.receive(frame(CLOSING, b"\x0b\xb8"))
    assert session.closed == (3000, "")
    session.noticed()
    assert session.want is CLOSE


def test_client_that_does_not_close() -> None:
    session = opened()
    session.close_websocket(1000, "")
    sent(session)
    session.deadline(50.0)
    assert session.expire() is CLOSE


def test_pings_do_not_put_off_the_end() -> None:
    """A client that answers our close frame with pings only has as long as a silent one."""
    session = opened()
    session.close_websocket(1000, "")
    sent(session)
    ends_at = session.deadline(50.0)
    session.receive(frame(PING, b"still here"))
    sent(session)
    assert session.deadline(53.0) == ends_at


def test_pings_do_not_put_off_a_stop() -> None:
    """Even if the client takes our answers to them so slowly that there always are some."""
    session = opened()
    session.stop()
    sent(session)
    ends_at = session.deadline(50.0)
    for at in (50.5, 51.0, 51.5):
        session.receive(frame(PING, bytes(125)))
        session.wrote(1)
        assert session.deadline(at) == ends_at


def test_what_was_there_before_a_stop_has_its_time() -> None:
    session = opened()
    session.send_message(bytes(100_000))
    session.stop()
    session.noticed()
    assert session.deadline(50.0) == 52.0
    session.wrote(1000)
    assert session.deadline(51.0) == 53.0


def test_an_opening_that_fails_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no HTTP connection any more, and no WebSocket yet: nothing is sent on it."""

    def no_memory(session: WebSocketSession, data: bytes) -> None:
        raise MemoryError

    session = Session(Rules(websocket=opener()), ("192.0.2.1", 1), ("192.0.2.2", 80))
    session.receive(handshake("/"))
    monkeypatch.setattr(WebSocketSession, "_send", no_memory)
    with pytest.raises(MemoryError):
        session.upgrade(None, ())
    assert session.lost
    assert not session.output


def test_the_last_message_is_not_kept() -> None:
    session = opened()
    session.receive(BIG)
    assert session.next_message() == bytes(QUEUE_BYTES + 1)
    for _ in range(3):
        session.receive(frame(TEXT, b"small"))
        session.next_message()
    gc.collect()
    kept = [each for each in gc.get_objects() if type(each).__name__ == "Frame" and len(each.data) > 1000]
    assert not kept


def test_client_that_ends_without_a_word() -> None:
    session = opened()
    session.send_message("lost")
    session.receive(frame(TEXT, b"last"))
    assert session.receive(b"") is RUN
    session.noticed()
    assert session.want is CLOSE
    assert session.next_message() == "last"
    assert session.closed == (1006, "")


def test_broken_frame_lingers() -> None:
    """The client may be sending: a RST would take our close frame from it."""
    session = opened()
    assert session.receive(b"\xff\xff") is RUN
    assert sent(session) == bytes([0x88, 2 + len(REASON), 0x03, 0xEA]) + REASON
    assert session.want is CLOSE
    assert session.half_close()
    assert session.phase is LINGER
    assert session.deadline(0.0) == 2.0
    assert session.receive(b"more of it") is READ
    assert session.receive(b"") is CLOSE
    assert not session.half_close()
    assert session.phase is OVER


def test_stop() -> None:
    session = opened()
    session.receive(frame(TEXT, b"one"))
    session.noticed()
    assert session.stop() is RUN
    assert session.closed == (1012, "the server stops")
    assert session.next_message() == "one"
    assert sent(session) == b"\x88\x12\x03\xf4the server stops"
    assert session.deadline(0.0) == 2.0
    session.receive(frame(CLOSING, b"\x03\xf4"))
    session.noticed()
    assert session.want is CLOSE


def test_stop_before_the_acceptance() -> None:
    session = Session(Rules(timeouts=TIMES, websocket=opener()), None, ("/run/x", None))
    session.receive(handshake("/"))
    session.stop()
    assert session.upgrade(None, ()) is RUN
    assert isinstance(session, WebSocketSession)
    assert session.closed == (1012, "the server stops")
    assert sent(session).endswith(b"\x88\x12\x03\xf4the server stops")


def test_nothing_is_wanted_of_an_application_that_has_ended() -> None:
    session = opened()
    session.receive(BIG)
    session.close_websocket(1000, "")
    session.detach()
    sent(session)
    assert session.want is READ
    assert session.receive(BIG) is READ
    assert session.unread == 0
    assert session.receive(frame(CLOSING, b"\x03\xe8")) is CLOSE


def test_counted_and_logged_to_its_end() -> None:
    counting = Counting()
    session = opened(Rules(timeouts=TIMES, websocket=opener(), observer=counting, admission=counting))
    assert counting.seen == ["began", "enter"]
    session.lose()
    session.close()
    session.close()
    assert counting.seen == ["began", "enter", "ended 101", "leave"]
    assert session.exchange is None
