"""Who runs the loop of a reactor, and in which thread the application runs: see `Runner`."""

import logging
import operator
from collections.abc import Callable
from typing import Protocol

from septet import forked
from septet.loop import ReadinessLoop
from septet.models._application_loop import has_failed, run_until
from septet.models._member import Answering, Due, Item
from septet.processes.orders import Stop

log = logging.getLogger("septet")


class Runner(Protocol):
    """Runs the loop of a reactor, and decides in which thread the application runs. Implemented by `OnLoop`,
    `Asynchronous`, `_beside.Beside` and `_leaders.Leaders`.
    """

    order: int
    """Descriptor that the loop watches for the order to stop. When it is readable, `Stop.drain_and_check` tells whether
    the order has come."""
    capacity: int
    """Requests that can run at the same time; 0: there is no bound."""

    @property
    def busy(self) -> bool:
        """True if the application runs for a request, or requests wait for it."""

    def leads(self) -> bool:
        """True if the calling thread runs the loop."""

    def wait_for_room(self, connection: Answering, timeout_s: float | None) -> None:
        """Block until some output of the connection was sent, or `timeout_s` seconds have passed; None: no time-out.
        Called in the thread in which the application runs.
        """

    def run(self) -> None:
        """Run the loop until `end` is called."""

    def end(self) -> None:
        """Have `run` return soon. Called by the thread that runs the loop; any thread may call `Leaders.end`."""


class OnLoop:
    """The runner for `--threads 0`: a WSGI application runs in the loop's thread, one answer after the other, each
    to its end. While it runs, asyncio does not see the thread as one with a running loop, so the application may
    run a loop of its own.
    """

    capacity = 1

    def __init__(
        self,
        loop: ReadinessLoop,
        due: "Due",
        stop: Stop,
        done: Callable[[], None],
        repair: Callable[[], None],
    ) -> None:
        self.order = stop.fileno_here()
        self.busy = False
        self._loop = loop
        self._due = due
        self._stop = stop
        self._done = done
        self._repair = repair
        """Called when an exception may have interrupted a callback of the loop."""
        self._over = False
        self._item: Item | None = None
        """The request that is being answered, with its connection and application; None: no request is."""

    def leads(self) -> bool:
        return True

    def wait_for_room(self, connection: Answering, timeout_s: float | None) -> None:
        connection.make_room(timeout_s)

    def run(self) -> None:
        while not self._over:
            try:
                self._run_again()
            except BaseException as error:  # raised at the one place where `_run_again` does not catch it
                if has_failed(self._loop, error):
                    raise

    def _run_again(self) -> None:
        """Run the loop until `end` is called. If a signal handler of the application has raised, log that, repair what
        it may have interrupted, and go on.
        """
        raised: BaseException | None = None
        while not self._over:
            try:
                if raised is not None:
                    if self._item is not None:  # its answer was interrupted, or has not begun
                        self._item[0].abandon()
                        self._item = None
                    log.error("a signal handler of the application raised", exc_info=raised)
                    self._repair()
                    raised = None
                self._run()
            except BaseException as error:
                if forked.by_application:
                    forked.exit_child(error)
                if has_failed(self._loop, error):
                    raise
                raised = error  # handled by the next round, for another signal could interrupt that

    def _run(self) -> None:
        due = self._due
        while not self._over:
            self.busy = True
            for _ in range(len(due)):  # answers may add to them, where a client pipelines
                self._item = due[0]  # without a call, at which a signal handler's exception could lose it
                del due[0]
                self._item[0].answer(self._item[1], operator.call)
                self._item = None  # no memory of it is held while the loop waits
            self.busy = False
            if due:
                self.busy = True
                self._loop.call_soon(_wake_loop)  # the loop looks for events, and does not wait
            if self._stop.ordered:
                self._done()
            self._loop.turn()

    def end(self) -> None:
        self._over = True
        self._loop.call_soon(_wake_loop)


class Asynchronous:
    """The runner of a server without WSGI applications. An ASGI application runs as tasks on the loop, as on any
    asyncio loop. It also serves where there are only static files, and no application.
    """

    busy = False
    capacity = 0

    def __init__(self, loop: ReadinessLoop, stop: Stop, repair: Callable[[], None]) -> None:
        self._loop = loop
        self._repair = repair
        self.order = stop.fileno_here()
        self._over = False

    def run(self) -> None:
        run_until(self._loop, lambda: self._over, self._repair)

    def end(self) -> None:
        self._over = True
        self._loop.stop()

    def leads(self) -> bool:
        return True

    def wait_for_room(self, connection: Answering, timeout_s: float | None) -> None:
        raise AssertionError("the task of an ASGI application waits by itself")


def _wake_loop() -> None:
    """A callback that does nothing; scheduling it keeps the loop from waiting for events."""
