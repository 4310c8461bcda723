"""How a connection ends: refusals, failures, lingering, a lost client, and the order to stop."""

import errno
import io

import pytest

from septet.http.incoming import Limits
from septet.protocol import CLOSE, READ, RUN, WRITE
from septet.rules import Rules
from septet.session.http1 import Session
from septet.session.phases import ANSWER, DRAIN, IDLE, LINGER, LINGER_BYTES, OVER, TURN
from support.carrier import Watched, ok, write_all
from support.messages import render

GET = render("GET", "/")
CLOSING = render("GET", "/", "Connection: close")
POST = render("POST", "/", body=b"12345")
UNWANTED = render("POST", "/", "Content-Length: 1000000")


def answered(data: bytes) -> Watched:
    """A session that has received this request and has sent a whole answer to it."""
    session = Watched()
    assert session.receive(data) is RUN
    session.respond(ok(), b"", True)
    write_all(session)
    return session


# Refusals and failures


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"nonsense\r\n\r\n", 400), (b"\0", 400), (render("GET", "/", version="2.0"), 505), (b"GET /" + b"a" * 9000, 414)],
)
def test_refused_request_is_answered(data: bytes, status: int) -> None:
    session = Watched()
    assert session.receive(data) is WRITE
    answer = write_all(session)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in answer
    assert session.trail == [IDLE, ANSWER, OVER]


def test_refused_head_request_is_answered_without_content() -> None:
    """RFC 9110 section 9.3.2: the body is refused, and the method, HEAD, is known."""
    session = Watched(Rules(limits=Limits(body=10)))
    session.receive(render("HEAD", "/", "Content-Length: 11"))
    answer = write_all(session)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"\r\n\r\n")


def test_what_follows_a_refused_request_is_not_believed() -> None:
    session = Watched()
    session.receive(b"nonsense\r\n\r\n" + GET)
    write_all(session)
    assert session.receive(GET) is CLOSE
    assert RUN not in [phase.want for phase in session.trail]


def test_failure_before_the_answer() -> None:
    session = Watched()
    session.receive(GET + GET)
    assert session.fail() is WRITE
    assert write_all(session).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")


@pytest.mark.parametrize("begun", [False, True])
def test_failure_for_a_client_that_has_left(begun: bool) -> None:
    """It is told neither as an answer that the client got, nor as one that the server has cut."""
    reports: list[str] = []
    session = Watched(Rules(refused=reports.append))
    session.receive(GET)
    if begun:
        session.respond(ok(), b"part", False)
    session.lose()
    assert session.fail() is CLOSE
    assert (session.status, session.fault, reports) == (200 if begun else 0, None, [])


def test_failure_in_the_answer_cuts_the_connection() -> None:
    """The client must not take a part of the answer for the whole."""
    session = Watched()
    session.receive(GET)
    session.respond(ok(), b"part", False)
    write_all(session)
    assert session.fail() is CLOSE
    assert session.lost
    assert not session.half_close()


def test_refusal_in_the_answer_cuts_the_connection() -> None:
    session = Watched()
    session.receive(render("POST", "/", "Transfer-Encoding: chunked"))
    session.respond(ok(), b"part", False)
    write_all(session)
    session.want_body()
    session.receive(b"x\r\n")
    with pytest.raises(ConnectionError):
        session.poll()
    assert session.fail() is CLOSE
    assert session.lost


# Lingering


@pytest.mark.parametrize("data", [GET + b"nonsense\r\n\r\n", UNWANTED])
def test_end_lingers_while_the_client_may_be_sending(data: bytes) -> None:
    """Closing at once would send a reset, which can destroy the answer (RFC 9112 section 9.6)."""
    session = answered(data)
    write_all(session)
    assert session.want is CLOSE
    assert session.half_close()
    assert (session.want, session.phase) == (READ, LINGER)
    assert session.receive(b"whatever") is READ
    assert session.receive(b"") is CLOSE
    assert not session.half_close()


def test_lingering_is_bounded() -> None:
    session = answered(UNWANTED)
    session.half_close()
    passed = 0
    while session.receive(b"a" * 65536) is READ:
        passed += 65536
    assert passed <= LINGER_BYTES
    assert session.phase is OVER


@pytest.mark.parametrize("data", [CLOSING, render("POST", "/", "Connection: close", "Content-Length: 0")])
def test_end_after_a_good_answer_needs_no_lingering(data: bytes) -> None:
    session = answered(data)
    assert session.want is CLOSE
    assert not session.half_close()


def test_end_of_a_client_that_has_ended_needs_no_lingering() -> None:
    session = Watched()
    session.receive(UNWANTED)
    session.receive(b"")
    session.respond(ok(), b"", True)
    write_all(session)
    assert session.want is CLOSE
    assert not session.half_close()


# The client ends, or is lost


@pytest.mark.parametrize("data", [b"", b"GET / HT"])
def test_client_that_ends_before_a_request(data: bytes) -> None:
    session = Watched()
    if data:
        session.receive(data)
    assert session.receive(b"") is CLOSE
    assert not session.output


def test_client_that_ends_after_its_request_is_answered() -> None:
    """Half-closing is allowed (RFC 9112 section 9.6); simple clients do it."""
    session = Watched()
    session.receive(GET)
    assert session.receive(b"") is RUN
    assert session.gone
    session.respond(ok(), b"hello", True)
    assert write_all(session).endswith(b"hello")
    assert session.want is CLOSE


@pytest.mark.parametrize("beginning", [b"", GET[:5], GET, POST[:-2]])
def test_lost_client(beginning: bytes) -> None:
    session = Watched()
    if beginning:
        session.receive(beginning)
    assert session.lose() is CLOSE
    assert (session.gone, session.lost, session.output, session.file) == (True, True, b"", None)
    assert not session.half_close()


def test_answer_to_a_lost_client_goes_nowhere() -> None:
    session = Watched()
    session.receive(GET)
    session.respond(ok(), b"part", False)
    assert session.lose() is CLOSE
    assert session.push(b"more", True) is CLOSE
    assert (session.output, session.want) == (b"", CLOSE)


# The order to stop


def test_stop_ends_an_idle_connection() -> None:
    session = Watched()
    assert session.stop() is CLOSE
    assert not session.half_close()


def test_stop_ends_a_drain() -> None:
    session = answered(POST[:-1])
    assert session.phase is DRAIN
    assert session.stop() is CLOSE


@pytest.mark.parametrize("before", [True, False])
def test_stop_lets_a_request_in_flight_finish(before: bool) -> None:
    session = Watched()
    session.receive(GET[:9] if before else GET)
    assert session.stop() is (READ if before else RUN)
    if before:
        assert session.receive(GET[9:]) is RUN
    session.respond(ok(), b"hello", True)
    answer = write_all(session)
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"hello")
    assert session.want is CLOSE


def test_stop_between_the_parts_of_an_answer() -> None:
    session = Watched()
    session.receive(GET + GET)
    session.respond(ok(), b"a", False)
    assert session.stop() is WRITE
    write_all(session)
    session.push(b"b", True)
    write_all(session)
    assert session.want is CLOSE
    assert session.trail.count(TURN) == 2  # both of the first request


# Observing


class Diary:
    """An `Observer` that records its calls."""

    def __init__(self) -> None:
        self.entries: list[tuple[object, ...]] = []

    def began(self, session: Session) -> None:
        session.observer_state = "begun"
        self.entries.append(("began", session.request.path))

    def ended(self, session: Session) -> None:
        self.entries.append(("ended", session.http.status, session.http.sent, session.observer_state))

    def closed(self, session: Session) -> None:
        self.entries.append(("closed", session.observer_state))


def test_observer_is_told_of_requests_and_answers() -> None:
    diary = Diary()
    session = Watched(Rules(observer=diary))
    session.receive(render("GET", "/1") + b"nonsense\r\n\r\n")
    session.respond(ok(), b"hello", False)
    write_all(session)
    session.push(b"!", True)
    assert diary.entries == [("began", b"/1")]
    session.wrote(3)
    assert diary.entries == [("began", b"/1")]
    write_all(session)
    assert diary.entries[:2] == [("began", b"/1"), ("ended", 200, 6, "begun")]
    assert diary.entries[2][:2] == ("ended", 400)


# What the attacks found


class FullDisk(io.BytesIO):
    """A file on a full disk: `close` raises as well, because it flushes first."""

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        super().close()
        raise OSError(errno.ENOSPC, "No space left on device")


def test_body_that_cannot_be_stored_is_answered() -> None:
    session = Watched(Rules(spool=FullDisk))
    session.receive(POST[:-1])
    assert session.receive(POST[-1:]) is WRITE
    assert write_all(session).startswith(b"HTTP/1.1 500 ")
    assert (session.body, session.phase) == (None, OVER)


def test_requests_that_came_after_the_last_answer_do_not_cut_it() -> None:
    """Closing with unread bytes would send a reset, and more bytes may be on their way."""
    session = Watched()
    assert session.receive(CLOSING + GET * 3) is RUN
    session.respond(ok(), b"", True)
    write_all(session)
    assert session.want is CLOSE
    assert session.half_close()
    assert session.phase is LINGER


def test_refusal_is_told_with_its_reason() -> None:
    told: list[str] = []
    session = Watched(Rules(refused=told.append))
    session.receive(b"GET / HTTP/1.1\r\n folded: yes\r\n\r\n")
    assert len(told) == 1
    assert told[0].startswith("a request from 192.0.2.1 is answered 400: a header field is folded")
