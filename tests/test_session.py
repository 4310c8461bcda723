"""A session, one method at a time: requests in, calls of the application, parts of answers out, and the end."""

import io
from pathlib import Path

import pytest

from septet.exchange import ClientGone, FileRegion
from septet.http.codec import CONTINUE
from septet.http.incoming import Limits
from septet.protocol import CLOSE, READ, RUN, WRITE
from septet.rules import Rules
from septet.session.phases import ANSWER, BODY, DRAIN, HEAD, IDLE, TURN
from support.carrier import CLIENT, SERVER, ByHand, Watched, ok, write_all
from support.messages import byte_by_byte, chunked, render

GET = render("GET", "/")
POST = render("POST", "/", body=b"12345")
EXPECTS = render("POST", "/", "Content-Length: 5", "Expect: 100-continue")

SPOOLING = Rules(spool=io.BytesIO)


def in_turn(data: bytes = GET, rules: Rules | None = None) -> Watched:
    """A session at RUN for the request `data`."""
    session = Watched(rules)
    assert session.receive(data) is RUN
    return session


# One request


def test_new_session_waits_for_a_request() -> None:
    session = Watched()
    assert (session.want, session.phase) == (READ, IDLE)
    assert (session.client, session.server) == (CLIENT, SERVER)
    assert not session.gone


def test_turn_comes_with_the_last_byte_of_the_head() -> None:
    session = Watched()
    assert [session.receive(byte) for byte in byte_by_byte(GET)] == [READ] * (len(GET) - 1) + [RUN]
    assert session.trail == [IDLE, HEAD, TURN]
    assert session.request.path == b"/"


def test_answer_of_one_part() -> None:
    session = in_turn()
    assert session.respond(ok(), b"hello", True) is WRITE
    assert (session.responding, session.answered, session.blocked) == (True, True, True)
    assert bytes(session.output) == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    assert session.wrote(len(session.output)) is READ
    assert session.trail == [IDLE, TURN, ANSWER, IDLE]
    assert session.output == b""


def test_output_that_goes_bit_by_bit() -> None:
    session = in_turn()
    session.respond(ok(), b"hello", True)
    expected, written = bytes(session.output), b""
    while session.want is WRITE:
        written += session.take(3)
        session.wrote(len(session.take(3)))
    assert written == expected


def test_turn_comes_again_when_a_part_has_gone() -> None:
    session = in_turn()
    assert session.respond(ok(), b"a", False) is WRITE
    assert session.wrote(len(session.output)) is RUN
    assert session.push(b"bc", False) is WRITE
    assert bytes(session.output) == b"2\r\nbc\r\n"
    assert session.wrote(len(session.output)) is RUN
    assert session.push(b"", False) is RUN  # nothing to write
    assert session.push(b"", True) is WRITE
    assert bytes(session.output) == b"0\r\n\r\n"
    assert session.wrote(len(session.output)) is READ


def test_end_of_an_answer_may_need_no_bytes() -> None:
    session = in_turn()
    session.respond(ok((b"Content-Length", b"1")), b"a", False)
    assert session.wrote(len(session.output)) is RUN
    assert session.push(b"", True) is READ
    assert session.phase is IDLE


def test_part_pushed_before_the_last_has_gone_waits_behind_it() -> None:
    session = in_turn()
    session.respond(ok((b"Content-Length", b"6")), b"abc", False)
    session.wrote(len(session.output) - 1)
    assert session.push(b"def", True) is WRITE
    assert write_all(session) == b"cdef"
    assert session.want is READ


def test_file_follows_the_head(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    session = in_turn()
    with path.open("rb") as file:
        session.respond(ok((b"Content-Length", b"5")), FileRegion(file.fileno(), 3, 5), False)
        assert session.wrote(len(session.output)) is WRITE
        assert not session.output
        assert session.take(100) == b"34567"
        assert session.wrote(2) is WRITE
        assert session.take(100) == b"567"
        assert session.wrote(3) is RUN
    assert session.push(b"", True) is READ


def test_file_that_has_shrunk_ends_the_connection() -> None:
    """The Content-Length cannot be kept, and padding would be wrong content."""
    session = in_turn()
    session.respond(ok((b"Content-Length", b"5")), FileRegion(-1, 0, 5), True)
    session.wrote(len(session.output))
    assert session.wrote(0) is CLOSE
    assert session.lost


def test_requests_in_a_row() -> None:
    """An answer is complete before the application is called for the next request."""
    session = Watched()
    want = session.receive(render("GET", "/1") + render("GET", "/2") + GET[:5])
    for path in (b"/1", b"/2"):
        assert (want, session.request.path) == (RUN, path)
        assert session.respond(ok(), path, True) is WRITE
        want = session.wrote(len(session.output))
    assert (want, session.phase) == (READ, HEAD)


def test_what_comes_during_a_turn_is_kept() -> None:
    session = in_turn()
    assert session.receive(render("GET", "/next")) is RUN
    session.respond(ok(), b"", True)
    assert session.receive(b"") is WRITE
    write_all(session)
    assert (session.want, session.request.path) == (RUN, b"/next")


# Bodies


def test_body_is_read_as_it_comes() -> None:
    session = in_turn(POST[:-3])
    assert session.poll() == b"12"
    assert (session.poll(), session.body_complete) == (None, False)
    assert session.want_body() is READ
    assert session.receive(POST[-3:]) is RUN
    assert (session.poll(), session.body_complete, session.poll()) == (b"345", True, b"")
    assert session.trail == [IDLE, TURN, BODY, TURN]


def test_reading_waits_where_it_may() -> None:
    session = in_turn(POST[:-5])
    pieces = [POST[-5:-3], POST[-3:]]
    waits = []

    def bring() -> bytes:
        waits.append(session.want)
        return pieces.pop(0)

    ByHand(session, bring)
    assert [session.read(), session.read(), session.read()] == [b"12", b"345", b""]
    assert waits == [READ, READ]


@pytest.mark.parametrize("data", [POST, render("POST", "/", "Transfer-Encoding: chunked", body=chunked(b"12345", 2))])
def test_spooled_body_comes_before_the_turn(data: bytes) -> None:
    session = Watched(SPOOLING)
    wants = [session.receive(byte) for byte in byte_by_byte(data)]
    assert wants == [READ] * (len(data) - 1) + [RUN]
    assert session.trail[:3] == [IDLE, HEAD, BODY]
    assert session.body.read() == b"12345"


def test_idle_session_holds_no_body() -> None:
    """15,000 idle connections may wait on one server; a collected body may take a mebibyte and a file."""
    session = Watched(SPOOLING)
    session.receive(POST)
    session.respond(ok(), b"", True)
    write_all(session)
    assert session.phase is IDLE
    assert session.body is None


def test_spooled_body_over_the_limit() -> None:
    session = Watched(Rules(limits=Limits(body=4), spool=io.BytesIO))
    session.receive(render("POST", "/", "Transfer-Encoding: chunked") + b"5\r\n12345\r\n")
    assert write_all(session).startswith(b"HTTP/1.1 413 ")
    assert session.want is CLOSE


def test_spooled_body_that_breaks_off() -> None:
    session = Watched(SPOOLING)
    assert session.receive(POST[:-1]) is READ
    assert session.receive(b"") is WRITE
    assert write_all(session).startswith(b"HTTP/1.1 400 ")
    assert session.want is CLOSE


@pytest.mark.parametrize("rules", [Rules(), SPOOLING])
def test_continue_is_sent_when_the_body_is_wanted(rules: Rules) -> None:
    session = Watched(rules)
    want = session.receive(EXPECTS)
    if rules.spool is None:
        assert (want, session.poll()) == (RUN, None)
        want = session.want_body()
    assert (want, bytes(session.output)) == (WRITE, CONTINUE)
    assert session.wrote(len(CONTINUE)) is READ
    assert session.phase is BODY
    assert session.receive(b"12345" + GET) is RUN
    session.respond(ok(), b"", True)
    assert b"Connection" not in write_all(session)
    assert session.want is RUN


@pytest.mark.parametrize("rules", [Rules(), SPOOLING])
def test_body_that_comes_while_the_continue_is_written(rules: Rules) -> None:
    """A completion-based model receives while it sends. What has come then is used without another receive."""
    session = Watched(rules)
    if session.receive(EXPECTS) is RUN:
        session.want_body()
    assert session.receive(b"12345") is WRITE
    assert session.wrote(len(CONTINUE)) is RUN


def test_continue_is_not_sent_when_the_body_has_come() -> None:
    session = in_turn(EXPECTS + b"12")
    assert session.poll() == b"12"
    assert session.poll() is None
    assert session.want_body() is READ


def test_continue_is_not_sent_in_the_middle_of_an_answer() -> None:
    session = in_turn(EXPECTS)
    session.respond(ok(), b"first", False)
    write_all(session)
    assert session.poll() is None
    session.want_body()
    assert CONTINUE not in bytes(session.output)


def test_client_that_goes_in_the_middle_of_its_body() -> None:
    session = in_turn(POST[:-3])
    session.poll()
    session.want_body()
    assert session.receive(b"") is RUN
    assert session.gone
    with pytest.raises(ClientGone):
        session.poll()


def test_malformed_body_is_the_clients_fault() -> None:
    session = in_turn(render("POST", "/", "Transfer-Encoding: chunked") + b"x\r\n")
    for _ in range(2):
        with pytest.raises(ClientGone):
            session.poll()
    assert session.gone
    assert session.fail() is WRITE
    assert write_all(session).startswith(b"HTTP/1.1 400 ")
    assert session.want is CLOSE


def test_unread_body_is_passed_over() -> None:
    session = in_turn(POST[:-4])
    session.respond(ok(), b"", True)
    write_all(session)
    assert (session.want, session.phase) == (READ, DRAIN)
    assert session.receive(POST[-4:-1]) is READ
    assert session.receive(POST[-1:] + GET) is RUN
    assert session.trail == [IDLE, TURN, ANSWER, DRAIN, DRAIN, TURN]


@pytest.mark.parametrize("data", [b"", b"zz\r\n"])
def test_unread_body_that_does_not_end_well(data: bytes) -> None:
    session = in_turn(render("POST", "/", "Transfer-Encoding: chunked"))
    session.respond(ok(), b"", True)
    write_all(session)
    assert session.receive(data) is CLOSE


# From one exchange to the next


def test_an_idle_session_holds_nothing_of_its_last_request() -> None:
    session = Watched()
    session.receive(render("GET", "/" + "a" * 5000))
    session.respond(ok(), b"hello", True)
    write_all(session)
    assert session.phase is IDLE
    assert len(session.request.target) == 0
    session.receive(render("POST", "/" + "a" * 5000, body=b"body")[:-1])
    session.respond(ok(), b"hello", True)
    write_all(session)
    assert session.phase is DRAIN
    session.receive(b"y")
    assert session.phase is IDLE
    assert len(session.request.target) == 0


def test_a_body_is_given_back_when_the_answer_has_gone() -> None:
    """Even if the connection lingers, or the next request comes slowly."""
    session = Watched(Rules(spool=io.BytesIO))
    session.receive(render("POST", "/", "Connection: close", body=b"body"))
    assert session.body is not None
    session.respond(ok(), b"hello", True)
    write_all(session)
    assert session.body is None


def test_a_continue_that_was_not_sent_is_not_the_next_requests() -> None:
    """The application has answered while 100 Continue still waits for the client."""
    session = Watched()
    session.receive(render("POST", "/", "Expect: 100-continue", "Content-Length: 4"))
    assert session.poll() is None
    assert session.want_body() is WRITE
    session.receive(b"body")
    session.respond(ok(), b"hello", True)
    write_all(session)
    assert session.receive(render("GET", "/")) is RUN
    session.respond(ok(), b"hello", False)
    write_all(session)
    assert session.phase is TURN


@pytest.mark.parametrize("count", [0, 3])
def test_a_file_that_is_the_last_part_ends_the_chunks(tmp_path: Path, count: int) -> None:
    """Bytes that have come after the request belong to the next exchange."""
    path = tmp_path / "file"
    path.write_bytes(b"123")
    session = Watched()
    session.receive(render("GET", "/") + render("GET", "/next"))
    with path.open("rb") as file:
        session.respond(ok(), b"one", False)
        write_all(session)
        session.push(FileRegion(file.fileno(), 0, count), True)
        assert write_all(session) == (b"3\r\n123\r\n" if count else b"") + b"0\r\n\r\n"
    assert session.request.target == b"/next"
    assert not session.responding
    assert session.trail.count(TURN) == 3, "two of the first request, one of the next"


def test_a_view_of_the_body_that_is_kept_changes_nothing() -> None:
    """An object of io that has given out a view refuses to be closed."""
    session = Watched(Rules(spool=io.BytesIO))
    request = render("POST", "/", body=b"body")
    session.receive(request)
    view = session.body.getbuffer()
    session.respond(ok(), b"hello", True)
    write_all(session)
    assert (session.body, session.phase) == (None, IDLE)
    assert session.receive(request) is RUN
    other = session.body.getbuffer()
    session.close()
    assert view == other == b"body"
