"""An ASGI application's start and end (ASGI lifespan 2.0)."""

import asyncio
import logging

from septet.apps._messages import Message
from septet.apps.asgi import Asgi
from septet.errors import Refused

log = logging.getLogger("septet")


class Lifespan:
    """The application's start and end, on the loop that `startup` is awaited on.

    An application that raises before it has answered the startup has no lifespan; that is not an error.
    """

    def __init__(self, asgi: Asgi) -> None:
        self._asgi = asgi
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._supported = False

    async def startup(self) -> None:
        """Raises Refused when the application says that it cannot start."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        answer = await self._ask("lifespan.startup")
        self._supported = answer is not None
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise Refused(f"the application did not start: {answer.get('message') or 'its startup failed'}")

    async def shutdown(self) -> None:
        """A failure is logged: there is nobody left whom it could keep from anything."""
        if not self._supported:
            return
        answer = await self._ask("lifespan.shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            log.error("the application did not end well: %s", answer.get("message") or "its shutdown failed")

    async def _ask(self, kind: str) -> Message | None:
        self._events.put_nowait({"type": kind})
        return await self._answers.get()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._asgi.state}
        try:
            await self._asgi.application(scope, self._events.get, self._answers.put)
        except Exception as error:
            if self._supported:
                log.exception("the application raised in its lifespan")
            else:
                log.debug("the application has no lifespan: %r", error)
        finally:
            self._answers.put_nowait(None)
