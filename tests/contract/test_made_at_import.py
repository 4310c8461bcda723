"""What an application opens and starts when it is imported, before the processes that serve are forked: those share its
connections, and lack its threads. That is logged at the start, because both fail much later and at random."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app_made_at_import import PEERS, THREAD
from support.server import Server, loopback, serve

APP = "support.app_made_at_import:app"

FORKS = (("preforked",), ("forking",), ("epoll", "--workers", "2"), ("epoll", "--workers", "1"))
"""Models and options with which processes are forked once the application is imported."""


@pytest.fixture
def peer() -> Iterator[str]:
    """The address of a server to connect to, which leaves its clients in the queue."""
    with socket.create_server((loopback(), 0)) as listener:
        host, port = listener.getsockname()
        yield f"{host}:{port}"


@pytest.fixture
def peer_path(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "db")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        yield path


def said(server: Server) -> list[str]:
    """What the log says of connections and threads, without the time and the number of the process."""
    lines = server.stderr().splitlines()
    return [re.sub(r"^.*? (?=INFO|WARNING)", "", line) for line in lines if "at import" in line]


@pytest.mark.parametrize("how", FORKS, ids=" ".join)
def test_connections_that_are_shared_are_named(how: tuple[str, ...], peer: str, peer_path: str) -> None:
    model, *options = how
    with serve(model, "wsgi", *options, app=APP, environment={PEERS: f"{peer} {peer_path} {peer}"}) as server:
        assert server.get("/").body == b"made"
        assert said(server)[0] == (
            "WARNING septet: SEP181 the application has opened connections at import, and the processes that serve "
            f"share them, so that their bytes get mixed up: {peer} (2), {peer_path}"
        )


@pytest.mark.parametrize("how", FORKS, ids=" ".join)
def test_threads_that_are_lacking_are_named(how: tuple[str, ...], peer: str) -> None:
    """Nor is a connection named that is closed again, or was there before: libraries load their configuration so, and
    a service manager's standard error is one."""
    model, *options = how
    with socket.create_connection(peer.rsplit(":", 1)) as before:
        number = before.fileno()
        environment = {"APP_CLOSED": peer}
        with serve(model, "wsgi", *options, app=APP, environment=environment, pass_fds=(number,)) as server:
            assert server.get("/").body == b"made"
            assert said(server) == [
                "INFO septet: threads that the application has started at import do not run in the processes that "
                f"serve: {THREAD}"
            ]


@pytest.mark.parametrize("how", [("epoll",), ("prethreaded",), ("iterative",)], ids=" ".join)
def test_one_process_has_both(how: tuple[str, ...], peer: str) -> None:
    with serve(how[0], "wsgi", app=APP, environment={PEERS: peer}) as server:
        assert server.get("/").body == b"made"
        assert said(server) == []
