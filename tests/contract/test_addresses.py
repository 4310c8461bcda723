"""Where a server listens: TCP over IPv4 and IPv6, unix sockets, inherited descriptors, several at once."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from support.client import Connection, refuses_connections
from support.marks import with_one_interface
from support.messages import render
from support.server import Server, loopback, serve
from support.waiting import wait_until

PYTHONPATH = os.environ.get("PYTHONPATH", "")


@pytest.fixture
def unix_path(tmp_path: Path) -> Path:
    return tmp_path / "septet.sock"


@with_one_interface()
def test_several_addresses_at_once(model: str, interface: str, unix_path: Path) -> None:
    """One ready line each, with the real port; all end with the server, and the socket's file is removed."""
    bind = (f"{loopback()}:0", "[::1]:0", f"unix:{unix_path}", f"{loopback()}:0")
    with serve(model, interface, bind=bind) as server:
        addresses = [ready.address for ready in server.ready]
        assert len(set(addresses)) == 4
        assert str(unix_path) in addresses
        for ready in server.ready * 2:
            assert ready.model == model
            with Connection(ready.address) as connection:
                assert connection.request("GET", "/", "Connection: close").status == 200
        server.stop()
        assert all(refuses_connections(address) for address in addresses)
        assert not unix_path.exists()


@with_one_interface()
def test_wildcard(model: str, interface: str) -> None:
    """The application is told the address that the client has reached."""
    with serve(model, interface, bind=("0.0.0.0:0", "[::]:0")) as server:
        for ready, addresses in zip(server.ready, (("127.0.0.1", "127.0.0.2"), ("::1",)), strict=True):
            for address in addresses:
                port = ready.address[1]
                with Connection((address, port)) as connection:
                    for _ in range(2):
                        seen = json.loads(connection.request("GET", "/").body)
                        named = f"[{address}]" if ":" in address and interface == "wsgi" else address
                        assert seen["server"] == [named, port]
                        assert seen["client"] == list(connection.socket.getsockname()[:2])


@pytest.mark.parametrize("model", ["epoll", "preforked"])
def test_stale_unix_socket_is_replaced(model: str, unix_path: Path) -> None:
    """A server that was killed has left its file."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(unix_path))
    with serve(model, "wsgi", bind=(f"unix:{unix_path}",)) as server:
        assert server.get("/").status == 200


@with_one_interface()
def test_inherited_descriptor(model: str, interface: str) -> None:
    """The listener was made by whoever started the server, as systemd does (sd_listen_fds(3))."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        with serve(model, interface, bind=(f"fd://{number}",), pass_fds=(number,)) as server:
            assert server.address == listener.getsockname()
            assert server.get("/").status == 200
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


@pytest.mark.parametrize("model", ["epoll"])
def test_sockets_of_systemd(model: str) -> None:
    """sd_listen_fds(3): one program becomes the other, so both have the process number that LISTEN_PID names."""
    program = (
        "import os, sys; number, *command = sys.argv[1:]; os.dup2(int(number), 3); "
        "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(command[0], command)"
    )
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        given.listen()
        number = given.fileno()
        server = serve(model, "wsgi", bind=(), environment={"LISTEN_FDS": "1"}, pass_fds=(number,))
        server.command = [sys.executable, "-c", program, str(number), *server.command]
        with server:
            wait_until(lambda: "listening on http://127.0.0.1" in server.stderr(), "it listens")
            with Connection(given.getsockname()) as connection:
                assert connection.request("GET", "/hello").status == 200


@pytest.mark.parametrize("model", ["epoll"])
def test_inherited_unix_socket_is_not_removed(model: str, unix_path: Path) -> None:
    """Its file belongs to whoever made it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(unix_path))
        listener.listen()
        number = listener.fileno()
        with serve(model, "wsgi", bind=(f"fd://{number}",), pass_fds=(number,)) as server:
            assert server.get("/").status == 200
    assert stat.S_ISSOCK(unix_path.stat().st_mode)


@pytest.mark.parametrize("supervisor", ["--supervisor", "--no-supervisor"])
def test_sockets_for_the_operator_where_the_application_changes_the_directory(supervisor: str, tmp_path: Path) -> None:
    (tmp_path / "moving.py").write_text("import os\nos.chdir('/')\nfrom support.apps_wsgi import app\n")
    options = ("--control", "c.sock", "--metrics-bind", "unix:m.sock", supervisor)
    with Server("moving:app", *options, environment={"PYTHONPATH": f"{tmp_path}:{PYTHONPATH}"}) as server:
        for name in ("c.sock", "m.sock"):
            with Connection(str(server.directory / name)) as connection:
                assert connection.request("GET", "/healthz").status == 200


def test_control_socket_whose_absolute_path_is_too_long(tmp_path: Path) -> None:
    """As for --bind, the relative one counts then."""
    directory = tmp_path / ("x" * 100)
    directory.mkdir()
    command = [sys.executable, "-m", "septet", "serve", "--static", "/=.", "--check", "--control", "c.sock"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@with_one_interface()
def test_end_of_stream_behind_much_unread_data(model: str, interface: str, unix_path: Path) -> None:
    """More than a receive of io_uring takes at once (33 buffers of 4 KiB), and the end behind it; see `Ring`."""
    head = render("POST", "/read?how=all", "Content-Length: 1000000")
    with (
        serve(model, interface, bind=(f"unix:{unix_path}",)) as server,
        socket.socket(socket.AF_UNIX) as client,
    ):
        for process in server.tree():
            os.kill(process.pid, signal.SIGSTOP)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client.connect(str(unix_path))
        client.setblocking(False)
        assert client.send(head + b"x" * 170_000) > 150_000
        client.shutdown(socket.SHUT_WR)
        for process in server.tree():
            os.kill(process.pid, signal.SIGCONT)
        client.settimeout(10.0)  # much sooner than the body's deadline, which is 30 s
        while client.recv(65536):
            pass
