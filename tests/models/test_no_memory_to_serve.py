"""There is no memory to begin with a client that was accepted: its connection is closed at once."""

from socket import socket, socketpair
from typing import Any

import pytest

from septet.models import iterative, prethreaded


class Unserved:
    """A client that cannot be served."""

    def __init__(self, sock: socket) -> None:
        self.sock = sock

    @property
    def acceptor(self) -> Any:
        raise MemoryError("deliberate")


@pytest.mark.parametrize("model", [iterative, prethreaded], ids=lambda model: model.__name__.rpartition(".")[2])
def test_client_does_not_wait(model: Any) -> None:
    here, there = socketpair()
    with here, there:
        there.settimeout(10)
        with pytest.raises(MemoryError):
            model._accept_and_serve([Unserved(here)], None)
        assert there.recv(1) == b""
