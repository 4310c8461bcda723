"""Who runs the loop of a reactor, and in which thread the application runs: see `Runner`."""

import operator
from collections.abc import Callable
from typing import Protocol

from septet.loop import ReadinessLoop
from septet.models._application_loop import run_until
from septet.models._member import Answering, Due
from septet.processes.orders import Stop


class Runner(Protocol):
    """Runs the loop, and says in which thread the application runs."""

    order: int
    """A descriptor that is readable when the order to stop has come, for the thread that runs the loop."""

    @property
    def busy(self) -> bool: ...

    def leads(self) -> bool: ...

    def wait_for_room(self, connection: Answering, timeout_s: float | None) -> None: ...

    def run(self) -> None: ...

    def end(self) -> None: ...


class OnLoop:
    """`--threads 0`: in the loop's thread and nowhere else, one answer after the other, each to its end.

    asyncio is not told that its loop runs, for an application may want to run one of its own.
    """

    def __init__(self, loop: ReadinessLoop, due: "Due", stop: Stop, done: Callable[[], None]) -> None:
        self.order = stop.fileno()
        self.busy = False
        self._loop = loop
        self._due = due
        self._stop = stop
        self._done = done
        self._over = False

    def leads(self) -> bool:
        return True

    def wait_for_room(self, connection: Answering, timeout_s: float | None) -> None:
        connection.make_room(timeout_s)

    def run(self) -> None:
        due = self._due
        while not self._over:
            self.busy = True
            for _ in range(len(due)):  # a client that sends its requests in one piece may add to them
                connection, application, _ = due.popleft()
                connection.answer(application, operator.call)
                connection = None  # nothing of it is kept while the loop waits
            self.busy = False
            if due:
                self.busy = True
                self._loop.call_soon(_wake_loop)  # look who else has come, without waiting
            if self._stop.ordered:
                self._done()
            self._loop.turn()

    def end(self) -> None:
        self._over = True
        self._loop.call_soon(_wake_loop)


class Asynchronous:
    """An ASGI application: tasks on the loop, which asyncio knows. Files too, if there is nothing else."""

    busy = False

    def __init__(self, loop: ReadinessLoop, stop: Stop) -> None:
        self._loop = loop
        self.order = stop.fileno()
        self._over = False

    def run(self) -> None:
        run_until(self._loop, lambda: self._over)

    def end(self) -> None:
        self._over = True
        self._loop.stop()

    def leads(self) -> bool:
        return True

    def wait_for_room(self, connection: Answering, timeout_s: float | None) -> None:
        raise AssertionError("a task waits by itself")


def _wake_loop() -> None:
    """Keeps the loop from waiting."""
