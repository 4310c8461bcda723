"""The end of a reactor's connection, of which a call raises for want of memory: nothing is left of it all the same."""

from socket import socketpair
from types import SimpleNamespace
from typing import Any

import pytest

from septet.models._client_connection import ClientConnection
from septet.rules import Rules
from septet.session.http1 import Session
from support.fails_once import FailsOnce


class Closing:
    """A session that notes whether it was closed."""

    delivery = None

    def __init__(self) -> None:
        self.session = Session(Rules(), None, ("192.0.2.2", 80))
        self.phase = self.session.phase
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("failing", ["wake", "session", "socket"])
def test_end_that_is_interrupted(failing: str) -> None:
    forgotten: list[object] = []
    reactor: Any = SimpleNamespace(loop=None, lock=None, site=SimpleNamespace(has_wsgi=False), forget=forgotten.append)
    session = Closing()
    here, there = socketpair()
    with here, there:
        there.settimeout(10)
        sock: Any = FailsOnce(here, "close") if failing == "socket" else here
        used: Any = FailsOnce(session, "close") if failing == "session" else session
        connection = ClientConnection(reactor, sock, used)
        exchange: Any = object()
        waking: Any = SimpleNamespace(wake=lambda: None)
        connection.concurrent = {exchange: FailsOnce(waking, "wake") if failing == "wake" else waking}  # type: ignore[dict-item]
        with pytest.raises(MemoryError):
            connection.end()
        assert there.recv(1) == b""  # the client does not wait
        assert session.closed  # the request is no longer in flight
        assert forgotten == [connection]
