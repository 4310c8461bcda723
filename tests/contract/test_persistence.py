"""When a connection stays open and when it ends (RFC 9112, section 9), and several requests at once on one."""

import json
import os
import random
import signal

import pytest

from support.behaviour import digest
from support.marks import each_style
from support.messages import byte_by_byte, chunked, pattern, random_pieces, render
from support.processes import await_idle
from support.server import Server, serve
from support.waiting import wait_until


def test_http_1_1_stays_open(server: Server) -> None:
    with server.connect() as connection:
        for number in range(20):
            response = connection.request("GET", f"/{number}")
            assert json.loads(response.body)["path"] == f"/{number}"
            assert not response.closes
        connection.assert_nothing_more()


@each_style
@pytest.mark.parametrize("option", ["close", "Close", "x-own, close", "close , x-own"])
def test_close_is_obeyed(server: Server, option: str) -> None:
    with server.connect() as connection:
        response = connection.request("GET", "/", f"Connection: {option}")
        assert response.status == 200
        assert response.closes
        connection.assert_closed()


def test_requests_after_close_are_not_answered(server: Server) -> None:
    with server.connect() as connection:
        connection.send(render("GET", "/", "Connection: close") + render("GET", "/second"))
        assert json.loads(connection.read_response().body)["path"] == "/"
        connection.assert_closed()


@each_style
def test_http_1_0_closes(server: Server) -> None:
    with server.connect() as connection:
        connection.send(render("GET", "/", version="1.0"))
        assert connection.read_response().status == 200
        connection.assert_closed()


@each_style
@pytest.mark.parametrize("option", ["keep-alive", "Keep-Alive"])
def test_http_1_0_keeps_alive_on_demand(server: Server, option: str) -> None:
    with server.connect() as connection:
        for _ in range(3):
            connection.send(render("GET", "/", f"Connection: {option}", version="1.0"))
            response = connection.read_response()
            assert response.framing == "length"
            assert response.get("connection") == "keep-alive"


def test_static_file_keeps_alive(server: Server) -> None:
    with server.connect() as connection:
        for _ in range(3):
            assert connection.request("GET", "/files/plain.txt").body == b"plain text\n"
        assert connection.request("GET", "/files/big.bin").status == 200
        assert connection.request("GET", "/").status == 200


def mixed_requests() -> list[tuple[bytes, bytes]]:
    """Ten requests with their bodies: none, by Content-Length, chunked, of several sizes."""
    source = random.Random(7)
    requests = []
    for number, size in enumerate([0, 1, 70_000, 10, 0, 3000, 1 << 16, 0, 5, 200]):
        body = pattern(size)
        target = f"/read?how=all&number={number}"
        if size and source.random() < 0.5:
            message = render("POST", target, "Transfer-Encoding: chunked") + chunked(body, max(1, size // 3))
        else:
            message = render("POST", target, body=body) if size else render("GET", target)
        requests.append((message, body))
    return requests


@pytest.mark.parametrize("cut", ["whole", "random pieces"])
def test_pipelining(server: Server, cut: str) -> None:
    """Ten requests before the first answer: ten answers, in their order (RFC 9112, section 9.3.2)."""
    requests = mixed_requests()
    data = b"".join(message for message, _ in requests)
    with server.connect() as connection:
        connection.send_pieces([data] if cut == "whole" else random_pieces(data))
        for _, body in requests:
            assert json.loads(connection.read_response().body) == {"length": len(body), "digest": digest(body)}
        connection.assert_nothing_more()


def test_pipelining_byte_by_byte(server: Server) -> None:
    data = render("POST", "/read?how=all", body=b"12345") * 3 + render("HEAD", "/") + render("GET", "/last")
    with server.connect() as connection:
        connection.send_pieces(byte_by_byte(data))
        for _ in range(3):
            assert json.loads(connection.read_response().body)["length"] == 5
        assert connection.read_response("HEAD").status == 200
        assert json.loads(connection.read_response().body)["path"] == "/last"
        connection.assert_nothing_more()


def test_pipelining_of_large_answers(server: Server) -> None:
    """The client reads nothing until all is asked for: what does not fit into the sockets must wait its turn."""
    count, size = 8, 1_000_000
    with server.connect() as connection:
        connection.send(render("GET", f"/send?size={size}&length=auto&parts=3") * count)
        for _ in range(count):
            assert connection.read_response().body == pattern(size)
        connection.assert_nothing_more()


def test_a_client_that_has_finished_sending_still_gets_its_answers(server: Server) -> None:
    """shutdown(2) of the sending side ends the requests, not the answers: `nc` and some health checks do that."""
    with server.connect() as connection:
        connection.send(render("GET", "/first") + render("GET", "/second"))
        connection.end_sending()
        assert json.loads(connection.read_response().body)["path"] == "/first"
        assert json.loads(connection.read_response().body)["path"] == "/second"
        connection.assert_closed()


@pytest.mark.parametrize("model", ["iterative", "preforked", "threaded", "prethreaded"])
def test_signal_of_the_application_ends_no_idle_connection(model: str) -> None:
    """A signal wakes whoever waits; only the order to stop, or somebody at the door, is a reason to let a client go."""
    with serve(model, "wsgi", app="support.app_handles_signals:wsgi") as server, server.connect() as idle:
        worker = int(idle.request("GET", "/").body)
        for number in range(1, 4):
            os.kill(worker, signal.SIGUSR1)
            wait_until(lambda number=number: server.journal.count(f"handled {worker}") == number, "it is handled")
            await_idle(server.pid)
            assert not idle.has_data(), "it was closed"
        assert int(idle.request("GET", "/").body) == worker
