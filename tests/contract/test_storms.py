"""Clients that connect and reset by the hundred: the server gives everything back, and does not compute for nobody.

Between its accept(2) and its first look at the socket a server may find the client gone already; waitress has looped on
that (CVE-2024-49769), and died of a descriptor that another thread had closed (CVE-2022-31015).
"""

from itertools import cycle

from support.client import Connection, connections
from support.messages import render
from support.processes import children, open_descriptors, rests, threads
from support.server import Server, serve
from support.waiting import becomes_true, wait_until

CLIENTS = 300
#: That are connected at once, before the first of them resets.
AT_ONCE = 50
STORMS = 20
#: s; what a lingering close may take.
RETURN_S = 3.0


def says_nothing(connection: Connection) -> None:
    pass


def begins(connection: Connection) -> None:
    connection.send(b"GET / HT")


def asks(connection: Connection) -> None:
    connection.send(render("GET", "/send?size=100000&parts=3"))


def storm(server: Server) -> None:
    for _ in range(CLIENTS // AT_ONCE):
        with connections(server.address, AT_ONCE) as clients:
            for act, client in zip(cycle((says_nothing, begins, asks)), clients, strict=False):
                act(client)
            for client in clients:
                client.reset()


def held(server: Server) -> tuple[int, int, int]:
    return open_descriptors(server.pid), threads(server.pid), len(children(server.pid))


def gives_all_back(server: Server) -> bool:
    """Whether a storm leaves the server with no more than it had."""
    before = held(server)
    storm(server)
    assert server.get("/").status == 200
    return becomes_true(lambda: all(now <= then for now, then in zip(held(server), before, strict=True)), RETURN_S)


def test_connect_and_reset(model: str) -> None:
    """What a server makes once and keeps, such as a thread of its pool, is made in the first storms; what leaks grows
    with every storm."""
    with serve(model, "wsgi") as server:
        storm(server)
        wait_until(lambda: server.get("/").status == 200, "the first storm is over")
        assert rests(server.pid)
        assert any(gives_all_back(server) for _ in range(STORMS))
        assert rests(server.pid)
        assert not server.complaints()
