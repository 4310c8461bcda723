"""Listening sockets: at every kind of address, all or none, and nothing of others taken away."""

import errno
import gc
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from septet.errors import Failed
from septet.net.address import Address, parse_address
from septet.net.listener import Listener, is_of_one_client, open_listeners
from support.waiting import wait_until


@pytest.fixture
def opened() -> Iterator[list[Listener]]:
    listeners: list[Listener] = []
    yield listeners
    for listener in listeners:
        listener.close()


def listen(opened: list[Listener], *texts: str) -> tuple[Listener, ...]:
    made = open_listeners([parse_address(text) for text in texts], 16)
    opened.extend(made)
    return made


def accept(listener: Listener) -> tuple[socket.socket, tuple[str, int] | None]:
    taken: list[tuple[socket.socket, tuple[str, int] | None]] = []

    def try_to_accept() -> bool:
        try:
            taken.append(listener.accept())
        except BlockingIOError:
            return False
        return True

    wait_until(try_to_accept, "a client was there")
    return taken[0]


def test_tcp(opened: list[Listener]) -> None:
    (listener,) = listen(opened, "127.0.0.1:0")
    host, port = listener.server
    assert host == "127.0.0.1"
    assert port
    assert str(listener) == f"http://127.0.0.1:{port}"
    with socket.create_connection((host, port)) as client, closing(accept(listener)[0]) as peer:
        assert peer.getpeername() == client.getsockname()
        assert not peer.getblocking()
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_address_of_a_client(opened: list[Listener]) -> None:
    (listener,) = listen(opened, "127.0.0.1:0")
    with socket.create_connection(listener.server) as client:
        sock, address = accept(listener)
        sock.close()
        assert address == client.getsockname()


def test_address_that_was_reached(opened: list[Listener]) -> None:
    (wildcard, one) = listen(opened, "0.0.0.0:0", "127.0.0.1:0")
    port = wildcard.server[1]
    for address in ("127.0.0.1", "127.0.0.2"):
        with socket.create_connection((address, port)), closing(accept(wildcard)[0]) as sock:
            assert wildcard.reached(sock) == (address, port)
    with socket.create_connection(one.server), closing(accept(one)[0]) as sock:
        assert one.reached(sock) is one.server


def test_address_of_ipv4_at_a_socket_of_both(opened: list[Listener]) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as given:
        (listener,) = listen(opened, f"fd://{given.fileno()}")
        port = given.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), closing(accept(listener)[0]) as sock:
            assert listener.reached(sock) == ("127.0.0.1", port)


def test_nobody_is_there(opened: list[Listener]) -> None:
    (listener,) = listen(opened, "127.0.0.1:0")
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_ipv6_alone(opened: list[Listener]) -> None:
    """A v6 socket leaves the v4 port of the same number to others, whatever the machine's default."""
    (listener,) = listen(opened, "[::1]:0")
    assert str(listener) == f"http://[::1]:{listener.server[1]}"
    assert listener.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    with socket.create_connection(listener.server[:2]) as client:
        sock, address = accept(listener)
        sock.close()
        assert address == client.getsockname()[:2]


def test_unix_socket(opened: list[Listener], tmp_path: Path) -> None:
    path = tmp_path / "s"
    (listener,) = listen(opened, f"unix:{path}")
    assert (listener.server, str(listener)) == ((str(path), None), f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        sock, address = accept(listener)
        sock.close()
        assert address is None
    listener.close()
    assert not path.exists()


def test_abstract_unix_socket(opened: list[Listener]) -> None:
    name = f"septet-test-{os.getpid()}"
    (listener,) = listen(opened, f"unix:@{name}")
    assert str(listener) == f"unix:@{name}"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{name}")
        accept(listener)[0].close()


def test_file_that_a_dead_server_left_is_replaced(opened: list[Listener], tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (listener,) = listen(opened, f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        accept(listener)[0].close()


def test_file_that_somebody_listens_at_is_left_alone(opened: list[Listener], tmp_path: Path) -> None:
    path = tmp_path / "s"
    listen(opened, f"unix:{path}")
    with pytest.raises(Failed, match="in use"):
        listen(opened, f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_file_that_is_no_socket_is_left_alone(opened: list[Listener], tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(Failed, match=r"cannot listen at unix:.* \(--bind\): a file lies there that is no socket"):
        listen(opened, f"unix:{path}")
    assert path.read_text() == "precious"


@pytest.mark.parametrize("listening", [True, False])
def test_inherited_socket(opened: list[Listener], listening: bool) -> None:
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        if listening:
            given.listen()
        (listener,) = listen(opened, f"fd://{given.fileno()}")
        assert listener.server == given.getsockname()
    with socket.create_connection(listener.server):
        accept(listener)[0].close()


def test_file_of_an_inherited_unix_socket_is_not_ours(tmp_path: Path) -> None:
    """Whoever opened it (systemd, say) goes on listening at it, or takes it away."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(path))
        given.listen()
        (listener,) = open_listeners([Address("fd", fd=given.fileno())], 16)
        listener.close()
        assert path.exists()


def test_descriptor_that_is_not_open() -> None:
    with socket.socket() as sock:
        number = sock.fileno()
    with pytest.raises(Failed, match=f"cannot listen at fd://{number}"):
        open_listeners([Address("fd", fd=number)], 16)


def test_descriptor_that_cannot_listen(tmp_path: Path) -> None:
    """A datagram socket or a file: a sentence, and nothing is left open."""
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, (tmp_path / "file").open("w") as file:
        gc.collect()  # what other tests have left is not of this one
        before = len(os.listdir("/proc/self/fd"))
        for thing in (datagrams, file):
            with pytest.raises(Failed, match="cannot listen"):
                open_listeners([Address("fd", fd=thing.fileno())], 16)
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before


def test_all_or_none(opened: list[Listener], tmp_path: Path) -> None:
    (taken,) = listen(opened, "127.0.0.1:0")
    path = tmp_path / "s"
    with pytest.raises(Failed, match="in use"):
        listen(opened, f"unix:{path}", f"127.0.0.1:{taken.server[1]}")
    assert not path.exists()


def test_name_that_nobody_knows() -> None:
    with pytest.raises(Failed, match=r"cannot listen at http://name\.invalid:80"):
        open_listeners([parse_address("name.invalid:80")], 16)


def test_port_can_be_taken_again_at_once(opened: list[Listener]) -> None:
    """Though connections of the server before it linger in TIME_WAIT."""
    (first,) = listen(opened, "127.0.0.1:0")
    port = first.server[1]
    with socket.create_connection(first.server):
        accept(first)[0].close()
    first.close()
    (second,) = listen(opened, f"127.0.0.1:{port}")
    assert second.server[1] == port


def test_adopted_client(opened: list[Listener]) -> None:
    """What io_uring accepts is a descriptor; its client may have left before anybody looks."""
    (listener,) = listen(opened, "127.0.0.1:0")
    with socket.create_connection(listener.server) as client:
        sock, address = accept(listener)
        assert listener.address_of(sock) == address == client.getsockname()
        sock.close()
        with socket.socket() as strange:
            assert listener.address_of(strange) is None


@pytest.mark.parametrize(
    ("seconds", "kept"), [(0.5, 0), (1.0, 1), (2.9, 1), (3.0, 3), (6.9, 3), (7.0, 7), (75.0, 63), (200.0, 127)]
)
def test_how_long_silent_clients_are_kept_back(opened: list[Listener], seconds: float, kept: int) -> None:
    (listener,) = listen(opened, "127.0.0.1:0")
    assert listener.defer(seconds) == kept
    assert listener.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) == kept  # the kernel knows the same


def test_a_client_is_kept_back_until_it_speaks(opened: list[Listener]) -> None:
    (listener,) = listen(opened, "127.0.0.1:0")
    listener.defer(60.0)
    with (
        socket.create_connection(listener.sock.getsockname()),
        socket.create_connection(listener.sock.getsockname()) as second,
    ):
        second.sendall(b"GET")
        sock, address = accept(listener)
        with closing(sock):
            assert address == second.getsockname()
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_nobody_is_kept_back_on_a_unix_socket(opened: list[Listener], tmp_path: Path) -> None:
    (listener,) = listen(opened, f"unix:{tmp_path}/socket")
    assert listener.defer(60.0) == 0


def test_errors_of_accept() -> None:
    """accept(2): what is one client's, and what all have to wait for."""
    for name in ("EPERM", "EPROTO", "ENETDOWN", "ECONNABORTED", "EHOSTUNREACH", "ENONET"):
        assert is_of_one_client(getattr(errno, name))
    for name in ("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"):
        assert not is_of_one_client(getattr(errno, name))
