"""WSGI and ASGI applications that answer streams of one connection at the same time: threads of a pool, and a loop."""

import pytest

from support.http2 import Connection, get
from support.messages import pattern
from support.models import EVENT_DRIVEN
from support.server import Server
from support.websocket import CLOSE, TEXT, StreamSocket, frame

MOUNTS = ("--mount=/wsgi=support.apps_wsgi:app", "--http2-cleartext", "--threads", "8")

models = pytest.mark.parametrize("model", sorted(EVENT_DRIVEN))


@models
def test_answers_of_threads_and_tasks_do_not_mix(model: str, token: str) -> None:
    """All of them go on when the gate opens."""
    with Server("support.apps_asgi:app", "--model", model, *MOUNTS) as server:
        for number in range(12):
            with Connection(server.address) as connection:
                gate = f"gate?gate={token}-{number}"
                streams = [connection.ask(get(f"{route}/{gate}")) for route in ("/wsgi", "", "", "") * 8]
                server.journal.wait_for(f"at gate {token}-{number}")
                server.journal.open_gate(f"{token}-{number}")
                assert {connection.answer(stream).body for stream in streams} == {b"rest"}
                assert {connection.answer(stream).status for stream in streams} == {200}


@models
def test_asgi_application_has_what_comes_as_it_comes(model: str) -> None:
    """Only for WSGI the body is collected first; a WebSocket's stream does not end before it is accepted."""
    with Server(
        "support.app_websocket:app", "--mount=/plain=support.apps_asgi:app", "--model", model, *MOUNTS
    ) as server:
        with Connection(server.address) as connection:
            socket = StreamSocket(connection, "/echo?token=x")
            assert socket.answer.status == 200
            socket.send(frame(TEXT, b"hello"))
            assert socket.read() == (TEXT, b"hello")
            assert connection.request("/wsgi/send?size=1000&parts=2").body == pattern(1000)
            socket.send(frame(CLOSE, b"\x03\xe8"))
            connection.answer(socket.stream)
        assert not server.complaints()
