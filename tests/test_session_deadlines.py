"""How long each phase may last, and what happens then. The clock is an argument, so none of this takes time."""

import io

import pytest

from septet.exchange import ClientGone
from septet.http.codec import CONTINUE
from septet.protocol import CLOSE, READ, RUN, WRITE
from septet.rules import Rules, Timeouts
from septet.session.phases import BODY, DRAIN, HEAD, IDLE, LINGER
from support.carrier import Watched, ok, write_all
from support.messages import byte_by_byte, render

TIMES = Timeouts(keep_alive=75, header=30, body=20, write=10, linger=2)
RULES = Rules(timeouts=TIMES)
SPOOLING = Rules(timeouts=TIMES, spool=io.BytesIO)

GET = render("GET", "/")
POST = render("POST", "/", body=b"12345")


def begun(data: bytes = b"", rules: Rules = RULES) -> Watched:
    session = Watched(rules)
    if data:
        session.receive(data)
    return session


def test_time_runs_from_when_somebody_first_looks() -> None:
    session = begun()
    assert [session.deadline(100.0), session.deadline(120.0)] == [175.0, 175.0]


def test_idle_connection_just_ends() -> None:
    session = begun()
    assert session.expire() is CLOSE
    assert not session.half_close()
    assert not session.lost  # nothing was under way


def test_head_has_its_own_time_which_bytes_do_not_prolong() -> None:
    session = begun()
    session.deadline(0.0)
    for now, byte in enumerate(byte_by_byte(GET[:-1]), 50):
        assert session.receive(byte) is READ
        assert session.deadline(float(now)) == 50.0 + 30.0
    assert session.expire() is WRITE
    assert write_all(session).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert session.want is CLOSE


def test_head_of_the_next_request_has_time_of_its_own() -> None:
    session = begun(GET + GET[:5])
    session.deadline(0.0)
    session.respond(ok(), b"", True)
    write_all(session)
    assert session.phase is HEAD
    assert session.deadline(40.0) == 70.0


def test_idle_time_begins_anew_after_an_answer() -> None:
    session = begun()
    session.deadline(0.0)
    session.receive(GET)
    session.respond(ok(), b"", True)
    write_all(session)
    assert (session.phase, session.deadline(40.0)) == (IDLE, 115.0)


@pytest.mark.parametrize("pieces", [[b"\r\n"], [b"\r", b"\n"]])
def test_empty_lines_do_not_prolong_the_idle_time(pieces: list[bytes]) -> None:
    """Empty lines begin no request; otherwise a client could keep a connection open by sending one now and then."""
    session = begun()
    session.deadline(0.0)
    for now in (20.0, 40.0, 60.0):
        for piece in pieces:
            session.receive(piece)
        deadline = session.deadline(now)
        assert deadline is not None
        assert deadline <= 75.0


def test_application_has_all_the_time_it_wants() -> None:
    assert begun(GET).deadline(0.0) is None


@pytest.mark.parametrize("rules", [RULES, SPOOLING])
def test_every_piece_of_a_body_gives_it_time_anew(rules: Rules) -> None:
    session = begun(POST[:-5], rules)
    for now, byte in enumerate(byte_by_byte(POST[-5:-1])):
        if session.want is RUN:
            assert session.poll() is None
            session.want_body()
        assert session.phase is BODY
        assert session.deadline(now * 15.0) == now * 15.0 + 20.0
        session.receive(byte)
        if session.want is RUN:
            session.poll()


def test_late_body_that_is_collected() -> None:
    session = begun(POST[:-1], SPOOLING)
    assert session.expire() is WRITE
    assert write_all(session).startswith(b"HTTP/1.1 408 ")
    assert session.want is CLOSE


def test_late_body_that_the_application_waits_for() -> None:
    """The application gets ClientGone, so that it can undo what it did; when it fails, the answer is 408."""
    session = begun(POST[:-1])
    session.poll()
    session.want_body()
    assert session.expire() is RUN
    assert session.gone
    with pytest.raises(ClientGone):
        session.poll()
    assert session.fail() is WRITE
    assert write_all(session).startswith(b"HTTP/1.1 408 ")


def test_application_may_answer_though_the_body_is_late() -> None:
    session = begun(POST[:-1])
    session.poll()
    session.want_body()
    session.expire()
    session.respond(ok(), b"never mind", True)
    assert b"\r\nConnection: close\r\n" in write_all(session)
    assert session.want is CLOSE
    assert session.half_close()


def test_late_body_in_the_middle_of_an_answer() -> None:
    session = begun(POST[:-1])
    session.respond(ok(), b"part", False)
    write_all(session)
    session.poll()
    session.want_body()
    session.expire()
    assert session.fail() is CLOSE
    assert session.lost


def test_every_piece_of_an_answer_gives_it_time_anew() -> None:
    session = begun(GET)
    session.respond(ok(), b"hello", True)
    for now in (0.0, 9.0, 18.0):
        assert session.deadline(now) == now + 10.0
        assert session.deadline(now + 1.0) == now + 10.0
        session.wrote(1)


def test_client_that_does_not_read_is_cut_off() -> None:
    session = begun(GET)
    session.respond(ok(), b"hello", True)
    session.wrote(3)
    assert session.expire() is CLOSE
    assert (session.lost, session.output) == (True, b"")


def test_continue_is_written_in_the_time_of_an_answer() -> None:
    session = begun(render("POST", "/", "Content-Length: 5", "Expect: 100-continue"))
    session.want_body()
    assert session.deadline(0.0) == 10.0
    session.wrote(len(CONTINUE))
    assert session.deadline(5.0) == 25.0


def test_drain_has_the_time_of_a_body() -> None:
    session = begun(POST[:-2])
    session.respond(ok(), b"", True)
    write_all(session)
    assert (session.phase, session.deadline(0.0)) == (DRAIN, 20.0)
    assert session.expire() is CLOSE


def test_lingering_is_short_and_not_prolonged() -> None:
    session = begun(b"nonsense\r\n\r\n")
    write_all(session)
    session.half_close()
    assert (session.phase, session.deadline(0.0)) == (LINGER, 2.0)
    assert session.receive(b"more") is READ
    assert session.deadline(1.0) == 2.0
    assert session.expire() is CLOSE
    assert not session.half_close()


def test_what_is_over_has_no_deadline() -> None:
    session = begun()
    session.lose()
    assert session.deadline(0.0) is None


def test_body_after_one_that_was_read_late_has_time_of_its_own() -> None:
    """The rest of the first comes when its answer is out, and takes most of its time; the second comes with it."""
    session = begun(POST[:-2])
    session.respond(ok(), b"", True)
    write_all(session)
    assert session.phase is DRAIN
    assert [session.deadline(float(now)) for now in range(20)] == [20.0] * 20
    assert session.receive(POST[-2:] + POST[:-2]) is RUN
    session.want_body()
    assert session.phase is BODY
    assert session.deadline(19.5) == 39.5
