"""An ASGI application's start and end (ASGI lifespan 2.0).

If the application raises at the lifespan scope, the specification has the server go on without lifespan: an application
that only handles requests does so. But an application that has received `lifespan.startup` has a lifespan; if it raises
after that, its startup has failed, and serving it would hide, say, that its database is missing. `sys.exit` always
counts as a failed start.
"""

import asyncio
import logging
from collections.abc import Iterable
from traceback import walk_tb

from septet import forked
from septet.apps._messages import Message
from septet.apps.asgi import Asgi
from septet.apps.loading import application_line, exit_message
from septet.errors import Failed, Refused, described

log = logging.getLogger("septet")


class Lifespans:
    """Runs the startups of the ASGI applications of a site one after the other, and their shutdowns in the opposite
    order, on the loop on which `startup` is awaited. An application that is mounted twice has one lifespan."""

    def __init__(self, asgis: Iterable[Asgi]) -> None:
        distinct: dict[int, Asgi] = {}
        for asgi in asgis:
            distinct.setdefault(id(asgi.application), asgi)
        self._all = [Lifespan(asgi) for asgi in distinct.values()]
        self._started: list[Lifespan] = []

    @property
    def supported(self) -> bool:
        """True once an application has answered `lifespan.startup`."""
        return any(each.supported for each in self._all)

    async def startup(self) -> None:
        """Run the startups. If one fails, or is cancelled, the applications that have started before it are shut down.
        Raises Refused if an application reports that it cannot start, Failed if it raises.
        """
        try:
            for each in self._all:
                await each.startup()
                self._started.append(each)
        except BaseException:
            await self.shutdown()
            raise

    async def shutdown(self) -> None:
        """Run the shutdowns of the applications that have started. Failures are only logged."""
        while self._started:
            await self._started.pop().shutdown()


class Lifespan:
    """Runs the startup and the shutdown of an ASGI application, on the loop on which `startup` is awaited."""

    def __init__(self, asgi: Asgi) -> None:
        self._asgi = asgi
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._event_received = False
        """True once the application has received `lifespan.startup`. An Exception that it raises before that means that
        it has no lifespan; one that it raises between that and its answer means that its startup has failed.
        """
        self._error: BaseException | None = None
        """The exception that the application raised before it answered `lifespan.startup`; None if there was none, or
        `startup` has dealt with it.
        """
        self.supported = False
        """True once the application has answered `lifespan.startup`."""

    async def startup(self) -> None:
        """Run the application's startup. Raises Refused if it reports that it cannot start, Failed if it raises."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        answer = await self._send_event("lifespan.startup")
        error, self._error = self._error, None
        if error is not None:
            self._raise_failure(error)
        self.supported = answer is not None
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise Refused(f"{self._asgi.name} did not start: {answer.get('message') or 'its startup failed'}")

    def _raise_failure(self, error: BaseException) -> None:
        """Raise Failed for an exception of the application's startup. Do nothing if it means that the application has
        no lifespan: it was raised before the application received an event.
        """
        if isinstance(error, SystemExit):
            raise Failed(f"{self._asgi.name} did not start: {exit_message(error)}")
        if _comes_from_trio(error):
            raise Failed(
                f"{self._asgi.name} did not start: it is made for the event loop of Trio, and is given asyncio's here "
                f"({described(error)}): serve it with Hypercorn's trio worker"
            )
        if isinstance(error, Exception) and not self._event_received:
            log.debug("%s has no lifespan: %r", self._asgi.name, error)
            return
        log.error("%s raised in its startup", self._asgi.name, exc_info=_without_our_frame(error))
        raise Failed(f"{self._asgi.name} did not start: {described(error)}{application_line(error)}")

    async def shutdown(self) -> None:
        """Run the application's shutdown. A failure is only logged, because the server ends in any case."""
        if not self.supported:
            return
        answer = await self._send_event("lifespan.shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            log.error("%s did not end well: %s", self._asgi.name, answer.get("message") or "its shutdown failed")

    async def _send_event(self, kind: str) -> Message | None:
        self._events.put_nowait({"type": kind})
        return await self._answers.get()

    async def _receive(self) -> Message:
        event = await self._events.get()
        self._event_received = True
        return event

    async def _send(self, message: Message) -> None:
        """The `send` of the application. What is no message raises there."""
        if message["type"] == "lifespan.startup.complete":
            self.supported = True  # now: what the application raises from here on is not its startup's
        self._answers.put_nowait(message)

    async def _run(self) -> None:
        """Run the application in its task. Its exceptions, SystemExit included, are kept or logged, not raised."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._asgi.state}
        try:
            await self._asgi.application(scope, self._receive, self._send)
            if forked.by_application:
                forked.exit_child()
        except BaseException as error:
            if forked.by_application:  # a child that the application has forked must not go on as the server
                forked.exit_child(error)
            if not self.supported:
                self._error = error
            elif not isinstance(error, asyncio.CancelledError):  # its loop cancels it at the end
                log.error("%s raised in its lifespan", self._asgi.name, exc_info=_without_our_frame(error))
        finally:
            self._answers.put_nowait(None)


def _comes_from_trio(error: BaseException) -> bool:
    """True if a function of Trio itself has raised `error`, as its nurseries do where another loop runs. Such an
    application, a QuartTrio for example, would raise for each request as well.
    """
    module = ""
    for frame, _ in walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
    return module.startswith("trio.")


def _without_our_frame(error: BaseException) -> BaseException:
    """Return `error`, with the frame of this module taken off its traceback, so that it begins in the application."""
    at = error.__traceback__
    return error.with_traceback(at.tb_next) if at is not None and at.tb_next is not None else error
