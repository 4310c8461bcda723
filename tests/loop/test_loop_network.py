"""Sockets through asyncio on our loops: streams, datagrams, TLS, flow control, many connections."""

import asyncio
import os
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from septet.loop import ReadinessLoop
from septet.loop._readiness import RECEIVE_SIZE

Run = Callable[[Awaitable[Any]], Any]

# Certificates are not what is tested: these ciphers (anonymous Diffie-Hellman) need none.
ANONYMOUS = "AECDH-AES128-SHA:ADH-AES128-SHA256:@SECLEVEL=0"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A stream server's connection: send back what comes."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def round_trip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    """Send, receive as much, close."""

    async def send() -> None:
        writer.write(data)
        await writer.drain()

    _, answer = await asyncio.gather(send(), reader.readexactly(len(data)))
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("size", [1, 100, 5_000_000])
def test_streams_over_tcp(run: Run, size: int) -> None:
    async def main() -> None:
        data = os.urandom(size)
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await round_trip(reader, writer, data) == data

    run(main())


def test_streams_over_unix_sockets(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        async with await asyncio.start_unix_server(echo, path):
            reader, writer = await asyncio.open_unix_connection(path)
            assert await round_trip(reader, writer, b"x" * 300_000) == b"x" * 300_000

    run(main())


def test_small_writes_do_not_wait_for_an_acknowledgement(run: Run) -> None:
    """On the client's and the server's side, and if the caller has made the socket."""

    def at_once(writer: asyncio.StreamWriter) -> int:
        return int(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def main() -> None:
        accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        given = socket.create_server(("127.0.0.1", 0))
        for where in ({"host": "127.0.0.1", "port": 0}, {"sock": given}):
            async with await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), **where) as server:
                address = server.sockets[0].getsockname()
                for to in ({"host": address[0], "port": address[1]}, {"sock": socket.create_connection(address)}):
                    _, ours = await asyncio.open_connection(**to)
                    theirs = await accepted.get()
                    assert at_once(ours)
                    assert at_once(theirs)
                    ours.close()
                    theirs.close()

    run(main())


def test_half_close(run: Run) -> None:
    async def main() -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"x" * 1_000_000)
            writer.write_eof()
            assert await reader.read() == b"x" * 1_000_000
            writer.close()
            await writer.wait_closed()

    run(main())


def test_tls(run: Run) -> None:
    async def main() -> None:
        serving, asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        asking.check_hostname = False
        asking.verify_mode = ssl.CERT_NONE
        for context in (serving, asking):
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ANONYMOUS)
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=serving) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=asking)
            assert await round_trip(reader, writer, b"secret" * 50_000) == b"secret" * 50_000

    run(main())


def test_datagrams(loop: ReadinessLoop, run: Run) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data.upper(), addr)  # type: ignore[attr-defined]

    class Ask(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.answer = loop.create_future()

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.answer.set_result(data)

    async def main() -> bytes:
        served, _ = await loop.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
        address = served.get_extra_info("sockname")
        transport, protocol = await loop.create_datagram_endpoint(Ask, remote_addr=address)
        transport.sendto(b"hello")
        answer = await protocol.answer
        transport.close()
        served.close()
        return bytes(answer)

    assert run(main()) == b"HELLO"


def test_socket_methods(loop: ReadinessLoop, run: Run) -> None:
    async def main() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            listener.setblocking(False)
            client.setblocking(False)
            (served, _), _ = await asyncio.gather(
                loop.sock_accept(listener), loop.sock_connect(client, listener.getsockname())
            )
            with served:
                receiving = asyncio.create_task(loop.sock_recv(served, 100))
                await asyncio.sleep(0)
                await loop.sock_sendall(client, b"ping")
                return await receiving

    assert run(main()) == b"ping"


def test_refused_connection(run: Run) -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*unused.getsockname())

    run(main())


def test_paused_transport_receives_nothing(loop: ReadinessLoop, run: Run) -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=here)
        writer.transport.pause_reading()
        there.send(b"x")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.02)
        writer.transport.resume_reading()
        assert await reader.read(1) == b"x"
        writer.close()
        await writer.wait_closed()
        there.close()

    run(main())


def test_transport_receives_less_than_mmap_threshold_at_a_time(run: Run) -> None:
    """glibc maps and unmaps memory for blocks of 128 KiB and more; a socket that holds as much is read in parts."""

    class Sizes(asyncio.Protocol):
        def __init__(self) -> None:
            self.sizes: list[int] = []
            self.ended = asyncio.Event()

        def data_received(self, data: bytes) -> None:
            self.sizes.append(len(data))

        def connection_lost(self, exc: Exception | None) -> None:
            self.ended.set()

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        there.setblocking(False)
        sent = there.send(b"x" * 200_000)
        there.close()
        _, protocol = await loop.create_connection(Sizes, sock=here)
        await protocol.ended.wait()
        assert sum(protocol.sizes) == sent
        return protocol.sizes

    sizes = run(main())
    assert len(sizes) > 1
    assert max(sizes) <= RECEIVE_SIZE < 128 * 1024


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Raise the limit of descriptors for 1,000 connections with both ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_connections(run: Run, many_descriptors: None) -> None:
    async def main() -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 0, backlog=1000) as server:
            address = server.sockets[0].getsockname()
            opened = await asyncio.gather(*(asyncio.open_connection(*address) for _ in range(1000)))
            words = [b"%d" % i * 10 for i in range(1000)]
            answers = await asyncio.gather(
                *(round_trip(reader, writer, word) for (reader, writer), word in zip(opened, words, strict=True))
            )
            assert answers == words

    run(main())


def test_long_datagrams_of_unix_sockets_come_whole(run: Run, tmp_path: Path) -> None:
    """As in asyncio: they may be longer than datagrams of IP, and what does not fit into the buffer is lost."""

    class Lengths(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.lengths: asyncio.Queue[int] = asyncio.Queue()

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.lengths.put_nowait(len(data))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = str(tmp_path / "socket")
        receiver, protocol = await loop.create_datagram_endpoint(Lengths, local_addr=path, family=socket.AF_UNIX)
        sender, _ = await loop.create_datagram_endpoint(Lengths, remote_addr=path, family=socket.AF_UNIX)
        for length in (1, 65536, 65537, 100_000, 200_000):
            sender.sendto(bytes(length))
            assert await protocol.lengths.get() == length
        sender.close()
        receiver.close()

    run(main())
