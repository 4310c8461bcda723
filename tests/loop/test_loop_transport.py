"""Stream transports and timers of ours, beyond what CPython's tests cover."""

import asyncio
import contextvars
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from septet.loop import ReadinessLoop

Run = Callable[[Awaitable[Any]], Any]

DATA = random.Random(7).randbytes(1_500_000)


async def tcp_pair() -> tuple[socket.socket, socket.socket]:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there, _ = listener.accept()
    for end in (here, there):
        end.setblocking(False)
    assert loop.is_running()
    return here, there


class Collector(asyncio.Protocol):
    """Collects data and the end of the stream."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = asyncio.Event()
        self.paused = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert not self.paused
        self.data += data

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ended.set()


async def send_all(sock: socket.socket) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, DATA)
    sock.close()


class Answered(asyncio.Protocol):
    """Collects data, and the exception that ended the connection."""

    def __init__(self) -> None:
        self.got = b""
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


def test_answer_of_a_peer_that_does_not_want_the_rest_is_received(run: Run) -> None:
    """It answers and closes while we have more to send. One turn of the loop sees both: the answer comes first."""

    async def main() -> None:
        here, there = socket.socketpair()
        open_connection: Any = asyncio.get_running_loop().create_unix_connection
        transport, protocol = await open_connection(Answered, sock=here)
        transport.write(bytes(3_000_000))
        await asyncio.sleep(0.01)
        there.send(b"too long")
        there.close()
        await protocol.lost
        assert protocol.got == b"too long"

    run(main())


@pytest.mark.parametrize("seed", range(3))
def test_pausing_at_any_moment_loses_no_byte(run: Run, seed: int) -> None:
    """On io_uring a receive may complete while it is being cancelled; its data must come after the pause."""
    chance = random.Random(seed)

    async def main() -> None:
        here, there = await tcp_pair()
        transport, protocol = await asyncio.get_running_loop().create_connection(Collector, sock=here)
        sending = asyncio.ensure_future(send_all(there))
        while not protocol.ended.is_set():
            transport.pause_reading()
            protocol.paused = True
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            protocol.paused = False
            transport.resume_reading()
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        await sending
        assert protocol.data == DATA

    run(main())


def test_changing_the_protocol_at_any_moment_loses_no_byte(run: Run) -> None:
    """As STARTTLS does: pause, set another protocol (here of the other kind), resume."""

    class Filling(Collector, asyncio.BufferedProtocol):
        def __init__(self, data: bytearray, ended: asyncio.Event) -> None:
            self.buffer = bytearray(1000)
            self.data, self.ended, self.paused = data, ended, False

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.buffer[:nbytes]

    async def main() -> None:
        here, there = await tcp_pair()
        transport, first = await asyncio.get_running_loop().create_connection(Collector, sock=here)
        second = Filling(first.data, first.ended)
        sending = asyncio.ensure_future(send_all(there))
        for turn in range(50):
            await asyncio.sleep(0)
            transport.pause_reading()
            transport.set_protocol(second if turn % 2 == 0 else first)
            transport.resume_reading()
        await first.ended.wait()
        await sending
        assert first.data == DATA

    run(main())


def test_cancelled_receives_lose_no_byte(run: Run) -> None:
    chance = random.Random(1)

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        here, there = await tcp_pair()
        sending = asyncio.ensure_future(send_all(there))
        received = bytearray()
        while True:
            receiving = asyncio.ensure_future(loop.sock_recv(here, 5000))
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                receiving.cancel()
            try:
                data = await receiving
            except asyncio.CancelledError:
                continue
            if not data:
                break
            received += data
        await sending
        here.close()
        return bytes(received)

    assert run(main()) == DATA


def test_what_is_written_may_be_changed_afterwards(run: Run) -> None:
    async def main() -> None:
        here, there = await tcp_pair()
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=here)
        data = bytearray(DATA)
        transport.write(data)
        transport.write(memoryview(data)[:100])
        data[:] = bytes(len(data))
        transport.close()
        received = bytearray()
        while piece := await asyncio.get_running_loop().sock_recv(there, 1 << 20):
            received += piece
        there.close()
        assert received == DATA + DATA[:100]

    run(main())


def test_a_program_may_put_its_own_write_into_a_transport(loop: ReadinessLoop, run: Run) -> None:
    """As with asyncio's transports: test suites replace `write` to make connections fail."""

    async def main() -> None:
        here, there = await tcp_pair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=here)
        written: list[bytes] = []
        transport.write = written.append  # type: ignore[method-assign,assignment]
        transport.writelines([b"one", b"two"])
        assert written == [b"onetwo"]
        transport.close()
        there.close()

    run(main())


def test_each_connection_has_a_context_of_its_own(run: Run) -> None:
    """A connection sees what was set where the server was made; what it sets itself, no other connection sees."""
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who")
    seen: list[str] = []

    class Marking(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            seen.append(who.get())
            who.set("client")

        def data_received(self, data: bytes) -> None:
            seen.append(who.get())
            who.set(data.decode())

        def connection_lost(self, exc: BaseException | None) -> None:
            seen.append(who.get())
            ended.release()

    async def main() -> None:
        nonlocal ended
        ended = asyncio.Semaphore(0)
        who.set("server")
        server = await asyncio.get_running_loop().create_server(Marking, "127.0.0.1", 0)
        who.set("main")
        for name in ("a", "b"):
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(name.encode())
            writer.close()
            await ended.acquire()
        server.close()
        assert who.get() == "main"

    ended: asyncio.Semaphore
    run(main())
    assert seen == ["server", "client", "a", "server", "client", "b"]


def test_failing_factory_is_reported_and_the_server_lives(loop: ReadinessLoop, run: Run) -> None:
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    def factory() -> asyncio.Protocol:
        raise ZeroDivisionError

    async def main() -> None:
        server = await loop.create_server(factory, "127.0.0.1", 0)
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            writer.close()
        server.close()

    run(main())
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError] * 2


def test_what_was_ready_precedes_what_is_noticed(loop: ReadinessLoop) -> None:
    """A callback that is queued runs before the event that the poller reports in the same turn."""
    order: list[str] = []
    here, there = socket.socketpair()
    there.send(b"x")
    loop.add_reader(here, lambda: (order.append("event"), loop.remove_reader(here)))
    loop.call_soon(order.append, "ready")
    while "event" not in order:
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert order == ["ready", "event"]
    here.close()
    there.close()


def test_timer_does_not_precede_what_was_ready_when_it_was_set(loop: ReadinessLoop) -> None:
    """However short its delay: a task that was started before has run its first step."""
    order: list[str] = []

    def start() -> None:
        loop.call_soon(order.append, "ready")
        loop.call_at(0, order.append, "timer")
        loop.call_later(0.001, loop.stop)

    loop.call_soon(start)
    loop.run_forever()
    assert order == ["ready", "timer"]


def test_timers_run_in_order_of_time_and_then_of_setting(loop: ReadinessLoop) -> None:
    order: list[int] = []
    now = loop.time()
    for number, delay in enumerate((3, 1, 2, 1, 3, 2)):
        loop.call_at(now + delay * 0.001, order.append, number)
    loop.call_at(now + 0.004, loop.stop)
    loop.run_forever()
    assert order == [1, 3, 2, 5, 0, 4]


def test_the_name_of_the_socket_is_asked_when_it_is_wanted(run: Run) -> None:
    """It is known in connection_lost, and afterwards if it was asked for before."""
    names: list[Any] = []

    class Asking(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            names.append(self.transport.get_extra_info("sockname"))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Asking, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        assert writer.get_extra_info("sockname") == writer.get_extra_info("socket").getsockname()
        assert await reader.read() == b""
        assert names == [address]
        writer.close()
        server.close()

    run(main())


def test_cancelled_timers_do_not_pile_up(loop: ReadinessLoop) -> None:
    """Time-outs are set for a minute and cancelled at once, very often."""
    kept = loop.call_later(60, print)
    for _ in range(10_000):
        loop.call_later(60, print).cancel()
    assert len(loop._scheduled) < 250
    kept.cancel()


def test_timer_that_sets_itself_for_the_past_lets_others_run(loop: ReadinessLoop) -> None:
    def again() -> None:
        loop.call_at(0, again)

    again()
    loop.call_later(0.01, loop.stop)
    loop.run_forever()


def test_interrupt_in_a_timer_loses_no_other_timer(loop: ReadinessLoop) -> None:
    ran: list[int] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    now = loop.time()
    loop.call_at(now, interrupt)
    loop.call_at(now, ran.append, 1)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == [1]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_transport_that_has_sent_its_backlog_and_closed_is_left_alone(run: Run, family: int) -> None:
    """The descriptor's number may be another file's by then: it must be neither watched nor written to."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        said: list[Any] = []
        loop.set_exception_handler(lambda _, context: said.append(context))
        here, there = await tcp_pair() if family == socket.AF_INET else socket.socketpair()
        there.setblocking(False)
        transport, protocol = await loop.create_connection(Collector, sock=here)
        number = here.fileno()
        transport.write(DATA * 8)
        transport.close()
        assert transport.get_write_buffer_size() > 0
        transport.write(b"more")  # as in asyncio: the backlog is still open
        received = 0
        while data := await loop.sock_recv(there, 1 << 20):
            received += len(data)
        await protocol.ended.wait()
        assert received == len(DATA) * 8 + 4
        another, reused = socket.socketpair()  # of which one has the number now
        assert number in (another.fileno(), reused.fileno())
        for _ in range(2):
            transport.write(b"x")
            transport.writelines([b"y"])
            transport.write(bytearray(b"z"))
            transport.abort()
            transport.close()
            transport.write_eof()
            transport.pause_reading()
            transport.resume_reading()
            await asyncio.sleep(0.01)
        assert transport.get_write_buffer_size() == 0
        for end in (another, reused):
            end.setblocking(False)
            with pytest.raises(BlockingIOError):
                end.recv(1)
        for end in (another, reused, there):
            end.close()
        assert said == []

    run(main())


def test_transport_may_be_written_to_while_it_is_told_of_its_end(run: Run) -> None:
    class Stubborn(Collector):
        def connection_lost(self, exc: BaseException | None) -> None:
            self.transport.write(b"late")
            self.transport.abort()
            self.ended.set()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        said: list[Any] = []
        loop.set_exception_handler(lambda _, context: said.append(context))
        here, there = await tcp_pair()
        transport, protocol = await loop.create_connection(Stubborn, sock=here)
        transport.write(DATA * 8)
        transport.close()
        while await loop.sock_recv(there, 1 << 20):
            pass
        await protocol.ended.wait()
        await asyncio.sleep(0.01)
        there.close()
        assert said == []

    run(main())
