"""TERM and INT: accept no more, finish what is in flight within --graceful-timeout, exit 0; the second: at once."""

import signal
import time

import pytest

from support.client import Truncated, refuses_connections
from support.marks import asgi_only, with_one_interface
from support.messages import render
from support.models import EVENT_DRIVEN, runs_concurrently
from support.processes import await_idle
from support.server import Server, loopback, serve
from support.waiting import wait_until

#: s; far from the 30 s and 75 s that the server would wait by default.
PROMPT_S = 10.0


@asgi_only
def test_request_in_flight_is_finished(model: str, interface: str, token: str) -> None:
    """Of WSGI applications: `test_answers_in_threads_are_finished_at_a_stop`."""
    assert_finished(model, interface, signal.SIGTERM, token)


@with_one_interface()
def test_request_in_flight_is_finished_after_an_interrupt(model: str, interface: str, token: str) -> None:
    assert_finished(model, interface, signal.SIGINT, token)


def assert_finished(model: str, interface: str, number: signal.Signals, token: str) -> None:
    with serve(model, interface, bind=(f"{loopback()}:0",)) as server, server.connect() as connection:
        connection.send(render("GET", f"/gate?gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        server.send_signal(number)
        server.journal.open_gate(token)
        response = connection.read_response()
        assert (response.status, response.body) == (200, b"rest")
        connection.assert_closed()
        assert server.wait(PROMPT_S) == 0
        assert refuses_connections(server.address)
        assert not server.complaints()


@with_one_interface()
def test_new_connections_are_refused(model: str, interface: str, token: str) -> None:
    """From the signal on, wherever the application leaves the server free to act on it; not queued, to be cut later."""
    with serve(model, interface, bind=(f"{loopback()}:0",)) as server, server.connect() as connection:
        connection.send(render("GET", f"/gate?gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        server.send_signal(signal.SIGTERM)
        if runs_concurrently(model):
            wait_until(lambda: refuses_connections(server.address), "new connections are refused")
        server.journal.open_gate(token)
        assert connection.read_response().body == b"rest"
        assert server.wait(PROMPT_S) == 0


@with_one_interface()
def test_idle_connections_are_closed_at_once(model: str, interface: str) -> None:
    """Neither one that has had its answer nor one that has never asked may hold up the end."""
    with serve(model, interface) as server, server.connect() as silent, server.connect() as idle:
        assert idle.request("GET", "/").status == 200
        start = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(PROMPT_S) == 0
        assert time.monotonic() - start < PROMPT_S
        idle.assert_closed()
        if model not in EVENT_DRIVEN:
            silent.send_if_possible(b"GET")  # it is the kernel's client, and learns of the end when it speaks
        silent.assert_closed()


def test_graceful_timeout_cuts(model: str, interface: str, token: str) -> None:
    """A request that does not end is not waited for: the gate stays closed."""
    with serve(model, interface, "--graceful-timeout", "0.5") as server, server.connect() as connection:
        connection.send(render("GET", f"/gate?first&gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        server.send_signal(signal.SIGTERM)
        assert server.wait(PROMPT_S) in (0, 1)
        with pytest.raises(Truncated):
            connection.read_response()


def test_second_signal_stops_at_once(model: str, interface: str, token: str) -> None:
    """Repeated until it has struck: two pending signals of one number are one, signal(7)."""
    with serve(model, interface) as server, server.connect() as connection:
        connection.send(render("GET", f"/gate?gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        start = time.monotonic()
        server.send_signal(signal.SIGTERM)
        await_idle(server.pid)
        assert server.running, "the first signal must wait for the request"
        wait_until(lambda: ended_by_another(server), "another signal ends it", PROMPT_S)
        server.wait(PROMPT_S)
        assert time.monotonic() - start < PROMPT_S


def ended_by_another(server: Server) -> bool:
    """Whether the server has ended; if not, it gets one more signal."""
    if server.running:
        server.send_signal(signal.SIGTERM)
    return not server.running


def test_stop_under_load_loses_no_answer(model: str, interface: str) -> None:
    """Every connection gets whole answers until it ends; none is cut in the middle."""
    with serve(model, interface) as server:
        with server.connect() as connection:
            connection.send(render("GET", "/send?size=100000&length=auto") * 50)
            assert connection.read_response().status == 200
            server.send_signal(signal.SIGTERM)
            while connection.has_more():
                assert len(connection.read_response().body) == 100_000
        assert server.wait(PROMPT_S) == 0
