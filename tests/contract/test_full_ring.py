"""io_uring whose completion queue is full: the kernel ends receives that were to stay, with the last of their data."""

import pytest

from support.client import connections
from support.messages import render
from support.models import io_uring_refusal
from support.server import Server

CLIENTS = 200
BODY = 3000


@pytest.mark.parametrize("threads", ["0", "4"])
def test_uploads_in_pieces_while_the_loop_is_busy(threads: str) -> None:
    if reason := io_uring_refusal():
        pytest.skip(reason)
    head = render("POST", "/", f"Content-Length: {BODY}")
    with (
        Server("support.app_small_ring:app", "--model", "io_uring", "--threads", threads) as server,
        server.connect() as busy,
        connections(server.address, CLIENTS) as clients,
    ):
        busy.send(render("GET", "/busy"))
        for piece in (head, b"a" * 1000, b"b" * 1000):
            for client in clients:
                client.send(piece)
        assert busy.read_response().status == 200
        for client in clients:
            client.send(b"c" * 1000)
        assert [client.read_response().body for client in clients] == [b"x"] * CLIENTS
