"""The end of an ASGI answer: for its client, for the tasks that made it, and for the connection's next request."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from septet.apps import _channel
from septet.apps.asgi import Asgi, Cycle
from septet.protocol import RUN, WRITE
from septet.session.phases import IDLE
from support.asgi_by_hand import GET, START, Hand, Receive, Send, answered, body, run
from support.carrier import Watched, write_all
from support.messages import render

ZERO_COPY = "http.response.zerocopysend"
TRAILERS = "http.response.trailers"


def start(status: int = 200, *fields: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(fields), **more}


# Content that nobody may be sent

UNWANTED = {
    "HEAD": (render("HEAD", "/"), start()),
    "204": (GET, start(204)),
    "304": (GET, start(304)),
    "beyond its Content-Length": (GET, start(200, (b"Content-Length", b"4"))),
}


@pytest.mark.parametrize(("data", "head"), UNWANTED.values(), ids=UNWANTED)
@pytest.mark.parametrize("size", [0, 1, 1 << 16])
def test_an_endless_stream_ends_where_nothing_more_is_wanted(data: bytes, head: dict[str, Any], size: int) -> None:
    """The client has its answer and may send the next request; the application receives `http.disconnect`."""

    async def scene() -> None:
        told: list[OSError] = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(head)
            await send(body(b"first", more=True))
            try:
                while True:
                    await send(body(b"x" * size, more=True))
            except OSError as error:
                told.append(error)
                raise

        hand = Hand(application, data)
        written = await hand.finish()
        assert told
        assert written.count(b"HTTP/1.1") == 1
        assert hand.session.phase is IDLE
        assert hand.session.receive(GET) is RUN

    run(scene)


@pytest.mark.parametrize("begun", [True, False])
def test_a_task_that_outlives_its_broken_answer_is_told_that_the_client_is_gone(begun: bool) -> None:
    """Quart answers in a task of its own, which a stop that cancels the request leaves alone. It was told that its
    answer was complete."""

    async def scene() -> None:
        tasks: list[asyncio.Task[None]] = []
        waits, go_on = asyncio.Event(), asyncio.Event()

        async def answer(send: Send) -> None:
            await send(START)
            if begun:
                await send(body(b"first", more=True))
            waits.set()
            await go_on.wait()
            await send(body(b"second", more=True))

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            tasks.append(asyncio.create_task(answer(send)))
            await asyncio.wait(tasks)

        hand = Hand(application)
        await waits.wait()
        hand.task.cancel()
        await asyncio.wait([hand.task])
        go_on.set()
        with pytest.raises(OSError, match="wanted"):
            await tasks[0]

    run(scene)


def test_a_stream_that_waits_does_not_hold_back_the_answer_to_head() -> None:
    async def scene() -> None:
        received: list[dict[str, Any]] = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await receive()
            await send(START)
            await send(body(b"first", more=True))
            received.append(await receive())

        hand = Hand(application, render("HEAD", "/"))
        assert (await hand.finish()).endswith(b"\r\n\r\n")
        assert hand.session.phase is IDLE
        assert received == [{"type": "http.disconnect"}]

    run(scene)


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(("data", "head"), UNWANTED.values(), ids=UNWANTED)
def test_a_stream_of_some_parts_comes_to_its_end(
    data: bytes, head: dict[str, Any], waits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """An application need not know that its content is discarded; its mistakes raise as usual."""
    ended: list[str] = []

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await send(head)
        for _ in range(5):
            await send(body(b"part", more=True))
            if waits:
                await asyncio.sleep(0)
        await send(body(b"last"))
        with pytest.raises(RuntimeError, match="complete"):
            await send(body(b"late"))
        ended.append("well")

    assert answered(application, data).count(b"HTTP/1.1") == 1
    assert ended == ["well"]
    assert caplog.records == []


def test_trailers_of_an_answer_without_content(caplog: pytest.LogCaptureFixture) -> None:
    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await send(start(trailers=True))
        await send(body(b"part", more=True))
        await asyncio.sleep(0)
        await send(body(b"last"))
        await send({"type": TRAILERS, "headers": [(b"a", b"b")]})

    assert answered(application, render("HEAD", "/", "TE: trailers"), [TRAILERS]).endswith(b"\r\n\r\n")
    assert caplog.records == []


def test_empty_parts_leave_others_their_turn() -> None:
    async def scene() -> None:
        others: list[int] = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            for _ in range(20_000):
                await send(body(b"", more=True))
                if others:
                    break
            await send(body())

        hand = Hand(application)
        asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(others.append, 1))
        written = await hand.finish()
        assert others
        assert written.endswith(b"\r\n\r\n0\r\n\r\n")

    run(scene)


# What a request leaves behind


def test_a_receive_that_is_cancelled_leaves_nothing() -> None:
    """Frameworks poll for the disconnect like this."""

    async def scene() -> None:
        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await receive()
            for _ in range(50):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.0001):
                        await receive()
            assert not hand.cycle._waiters
            await send(START)
            await send(body())

        hand = Hand(application)
        await hand.finish()
        hand.task.result()

    run(scene)


# Order


def test_a_part_that_meets_a_full_socket_at_the_first_wait_goes_on_by_itself() -> None:
    async def scene() -> None:
        class Link:
            def drive(self, want: Any) -> None:
                pass

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            await send(body(b"part", more=True))
            await asyncio.Event().wait()

        session = Watched()
        session.receive(GET)
        session.inform(103, ())
        assert session.blocked
        cycle = Cycle(session, Link())
        task = asyncio.create_task(cycle.run(Asgi(application)))
        await asyncio.sleep(0)
        cycle.uncork()
        assert write_all(session).endswith(b"part\r\n")
        task.cancel()

    run(scene)


def test_the_last_part_does_not_overtake_a_file(tmp_path: Path) -> None:
    """One task sends a file, another the end; then the application closes the file before the client has taken it."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    async def scene() -> None:
        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            with path.open("rb") as file:
                task = asyncio.create_task(send({"type": ZERO_COPY, "file": file, "more_body": True}))
                await asyncio.sleep(0)
                await send(body(b"last"))
                await task
            with path.open("rb") as other:  # gets the number of the one that was closed
                other.seek(0)
                path.write_bytes(b"x")
                os.truncate(path, 0)
                path.write_bytes(b"0123456789")
                await asyncio.sleep(0)

        hand = Hand(application, GET, extensions=[ZERO_COPY])
        while not hand.task.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        hand.task.result()
        hand.write()
        assert hand.written.endswith(b"\r\n\r\na\r\n0123456789\r\n4\r\nlast\r\n0\r\n\r\n")
        assert hand.session.phase is IDLE

    run(scene)


def test_a_file_that_waits_while_another_task_ends_the_answer_is_not_the_next_ones(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    async def scene() -> None:
        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            with path.open("rb") as file:
                first = asyncio.create_task(send({"type": ZERO_COPY, "file": file, "offset": 0, "more_body": True}))
                second = asyncio.create_task(send({"type": ZERO_COPY, "file": file, "offset": 5, "more_body": True}))
                await asyncio.sleep(0)
                await send(body(b"last"))
                await asyncio.gather(first, second)

        hand = Hand(application, GET, extensions=[ZERO_COPY])
        hand.session.receive(GET)
        written = await hand.finish()
        assert written.endswith(b"\r\n\r\na\r\n0123456789\r\n4\r\nlast\r\n0\r\n\r\n")
        assert not hand.session.responding, "of the next request"

    run(scene)


def test_a_file_whose_sending_is_cancelled_goes_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    async def scene() -> None:
        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await send(START)
            with path.open("rb") as file, pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await send({"type": ZERO_COPY, "file": file, "more_body": True})
            await send(body(b"last"))

        hand = Hand(application, GET, extensions=[ZERO_COPY])
        await hand.reach(WRITE)
        while not hand.task.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        hand.write()
        assert hand.written.endswith(b"\r\n\r\na\r\n0123456789\r\n4\r\nlast\r\n0\r\n\r\n")

    run(scene)


# A client that sends no more (RFC 9112 section 9.6)


def test_a_client_that_half_closes_is_waited_for() -> None:
    async def scene() -> None:
        messages: list[Any] = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await receive()
            listener = asyncio.create_task(receive())
            await asyncio.wait([listener], timeout=0.05)
            messages.append(listener.done())
            await send(START)
            await send(body(b"answer"))
            messages.append((await listener)["type"])

        hand = Hand(application)
        await asyncio.sleep(0)
        hand.session.receive(b"")
        hand.cycle.wake()
        assert (await hand.finish()).endswith(b"answer")
        assert messages == [False, "http.disconnect"]

    run(scene)


@pytest.mark.parametrize("polls", [True, False])
def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch, polls: bool) -> None:
    """The client may have left, which only sending would show."""
    monkeypatch.setattr(_channel, "HALF_CLOSED_S", 0.05)

    async def scene() -> None:
        messages: list[Any] = []

        async def application(scope: Any, receive: Receive, send: Send) -> None:
            await receive()
            while not messages:
                try:
                    async with asyncio.timeout(0.001 if polls else None):
                        messages.append((await receive())["type"])
                except TimeoutError:
                    pass

        hand = Hand(application)
        await asyncio.sleep(0)
        hand.session.receive(b"")
        hand.cycle.wake()
        await hand.finish()
        assert messages == ["http.disconnect"]

    run(scene)


# What is raised


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
def test_a_cause_that_is_its_own_cause_ends_its_request_only(error: type[BaseException]) -> None:
    async def application(scope: Any, receive: Receive, send: Send) -> None:
        raised = error("the cause")
        raised.__cause__ = KeyError()
        raised.__cause__.__cause__ = raised
        raise raised

    assert answered(application).startswith(b"HTTP/1.1 500")


def test_a_cancellation_whose_argument_cannot_be_compared_leaves_the_answer() -> None:
    """An array, for example."""

    class Array:
        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"whole"))
        raise asyncio.CancelledError(Array())

    assert b"whole" in answered(application)


def test_an_exception_that_was_taken_out_of_its_group_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As by BaseHTTPMiddleware of Starlette: its context is the group, in which it is."""

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(raises())
        except ExceptionGroup as error:
            raise error.exceptions[0]  # noqa: B904

    async def raises() -> None:
        raise KeyError("deliberate")

    assert answered(application).startswith(b"HTTP/1.1 500")
    (record,) = [record for record in caplog.records if record.name == "septet"]
    assert record.getMessage() == "SEP141 the application raised at GET /"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
