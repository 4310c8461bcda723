"""The start and the end of an ASGI application (lifespan 2.0)."""

import asyncio
import logging
from typing import Any

import pytest

from septet.apps._lifespan import Lifespan
from septet.apps.asgi import Asgi
from septet.errors import Failed
from support.asgi_by_hand import Receive, Send


def lifespan_of(*messages: dict[str, Any] | BaseException, log: list[str] | None = None) -> Lifespan:
    """The lifespan of an application that answers each event with the next of these, or raises it."""

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        assert (scope["type"], scope["asgi"]["spec_version"]) == ("lifespan", "2.0")
        scope["state"]["made"] = "at the start"
        for message in messages:
            event = await receive()
            if log is not None:
                log.append(event["type"])
            if isinstance(message, BaseException):
                raise message
            await send(message)

    return Lifespan(Asgi(application))  # type: ignore[arg-type]


COMPLETE = {"type": "lifespan.startup.complete"}
SHUT = {"type": "lifespan.shutdown.complete"}


def live(span: Lifespan) -> None:
    async def scene() -> None:
        async with asyncio.timeout(10):
            await span.startup()
            await span.shutdown()

    asyncio.run(scene())


def test_lifespan() -> None:
    log: list[str] = []
    span = lifespan_of(COMPLETE, SHUT, log=log)
    live(span)
    assert log == ["lifespan.startup", "lifespan.shutdown"]
    assert span._asgi.state == {"made": "at the start"}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"type": "lifespan.startup.failed", "message": "no database"}], "no database"),
        ([{"type": "lifespan.startup.failed"}], "startup failed"),
    ],
)
def test_lifespan_that_does_not_begin(messages: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(Failed, match=reason):
        live(lifespan_of(*messages))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("no database"), "RuntimeError: no database"),
        (SystemExit("no database"), "did not start: no database"),
        (SystemExit(3), r"it called sys\.exit\(3\)"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
    ids=repr,
)
def test_startup_that_raises(error: BaseException, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """If it raises after it has received the event, it has a lifespan, and its startup has failed."""
    with pytest.raises(Failed, match=reason):
        live(lifespan_of(error))
    assert "apps/_lifespan.py" not in caplog.text, "a traceback begins in the application"


class Unspeakable(BaseException):
    def __str__(self) -> str:
        raise SystemExit("deliberate")

    __repr__ = __str__


@pytest.mark.parametrize("error", [Unspeakable(), SystemExit(Unspeakable())], ids=["raised", "given to sys.exit"])
def test_startup_that_raises_what_cannot_be_shown(error: BaseException) -> None:
    with pytest.raises(Failed, match=r"did not start: (an exception that cannot be shown|it called sys\.exit)"):
        live(lifespan_of(error))


@pytest.mark.parametrize("message", [5, None, {}])
def test_what_is_no_message_raises_in_the_application(message: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Failed, match=r"did not start: (TypeError|KeyError)"):
        live(lifespan_of(message))
    live(lifespan_of(COMPLETE, message))
    assert "raised in its lifespan" in caplog.text


def test_application_that_raises_when_it_has_started(caplog: pytest.LogCaptureFixture) -> None:
    """At once, or a moment later: that is not its startup any more."""

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        raise RuntimeError("the cause")

    live(Lifespan(Asgi(application)))  # type: ignore[arg-type]
    assert "the cause" in caplog.text


def test_an_application_that_needs_the_loop_of_trio_does_not_start() -> None:
    """It raises before it receives anything, like one without a lifespan, and would raise for each request."""
    trio: dict[str, Any] = {"__name__": "trio._core._run"}
    exec("def open_nursery(): raise AttributeError('no runner')", trio)

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        trio["open_nursery"]()

    with pytest.raises(Failed, match="Trio"):
        live(Lifespan(Asgi(application)))  # type: ignore[arg-type]


def test_end_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    live(lifespan_of(COMPLETE, {"type": "lifespan.shutdown.failed", "message": "not flushed"}))
    assert "not flushed" in caplog.text


def test_application_without_a_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    """ASGI lifespan: an application that raises at the unknown scope is served without lifespan."""

    async def only_http(scope: Any, receive: Receive, send: Send) -> None:
        raise RuntimeError("what is a lifespan?")

    live(Lifespan(Asgi(only_http)))  # type: ignore[arg-type]
    live(lifespan_of())  # or just returns
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_application_that_raises_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    live(lifespan_of(COMPLETE, RuntimeError("the cause")))
    assert "the cause" in caplog.text
