"""One generation of the server: how it is forked, and what the supervisor knows of it.

A generation is a process that loads the configuration and the application and serves, by itself or with workers. A
reload replaces one generation by the next; see `septet.processes.succession`.
"""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Protocol

from septet.processes import crashes
from septet.processes.attendant import Overseer
from septet.processes.children import fork, unblock_orders
from septet.processes.deaths import Deaths
from septet.processes.orders import Stop
from septet.processes.recycling import Life, Recycling
from septet.processes.report import Report
from septet.processes.senders import Senders


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plan:
    """How the supervisor makes one generation: the process that loads the configuration and the application, and serves
    by itself or with workers. It also says when the generation is to be replaced.
    """

    run: Callable[[Report], int]
    """Runs in the process of the generation: serves, and returns the process's exit status. The signal TERM has
    its default action, to end the process, until `run` sets a handler.
    """
    began: Callable[[int], None]
    """Called in the supervisor when the generation is ready, with the number of processes that serve."""
    graceful_timeout: float
    startup_timeout: float
    recycling: Recycling
    """The limits (age, memory, number of requests) at which the generation is replaced by a new one. They are not
    used if it has workers: then these are replaced one by one.
    """
    instead: Callable[[Report], int] | None = None
    """Runs in place of `run`, in a new process, after the first generation since the start of the server could not
    start; under `--reload` it serves a page that shows the error. None: the server ends instead.
    """
    reopens: Callable[[], None] = lambda: None
    """Called in the supervisor, in a signal handler, when logs are to be opened anew (USR1), before the serving
    processes are told to do so: it can prepare the files for them.
    """
    failed: Callable[[str], None] = lambda text: None
    """Called in the supervisor with the reason when a generation cannot start, and with "" when one is ready."""


@dataclass(slots=True, eq=False)
class Generation:
    """What the supervisor knows of one generation: a process that loads the configuration and the application, and
    serves by itself or with workers.
    """

    number: int
    pid: int
    pipe: int
    """Descriptor of the reading end of the pipe on which the generation reports to the supervisor; -1 when it is
    closed.
    """
    plan: Plan
    started_at: float
    life: Life
    row: int = 0
    """Number of the row in the table of metrics, which is memory that all processes share, in which the generation
    counts; 0 if there is no table.
    """
    reason: str = ""
    """Why this generation replaces an earlier one, as the metrics name it: one of `metrics.lanes.REASONS`, such as
    "reload"; "" if there is no such reason.
    """
    why: str = ""
    """Why this generation was started, such as an order or a limit, as text for the log and the console; "" if
    there was no such reason.
    """
    failed: bool = False
    """True once it is known, and was logged, that this generation cannot start or is no longer wanted: when its
    process ends, no other reason is logged.
    """
    serves: bool = False
    """True if the generation has reported that at least one of its processes accepts clients."""
    ends_at: float = float("inf")
    """When the supervisor kills the generation if it still runs, in seconds on the clock of `time.monotonic`;
    infinite: it is not to end.
    """
    unread: bytes = b""

    def __str__(self) -> str:
        return f"generation {self.number} (pid {self.pid})"

    def messages(self) -> list[dict[str, Any]]:
        """Return what the generation has reported since the last call: a dictionary for each message, see `Report`.
        The list is empty if nothing new is there, or if the pipe was closed.
        """
        try:
            data = os.read(self.pipe, 65536)
        except BlockingIOError:
            return []
        *lines, self.unread = (self.unread + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def handed_over(self, current: bool, crashes: int) -> dict[str, Any]:
        """Return what a program that this process executes in its place must know of the generation to be its
        supervisor, as values for JSON. The pipe on which the generation reports stays open in that program. `current`
        is True if it is the generation that serves. `crashes` is the descriptor of the file to which it writes its
        stacks when it crashes, or -1; it stays open, too.
        """
        for descriptor in filter(lambda each: each >= 0, (self.pipe, crashes)):
            os.set_inheritable(descriptor, True)
        known = {"number": self.number, "pid": self.pid, "pipe": self.pipe, "crashes": crashes, "current": current}
        return {**known, "graceful_timeout": self.plan.graceful_timeout, "row": self.row}

    def keep(self, crashes: int) -> None:
        """Undo `handed_over`, in the program that executed no other one, or in the next one. `crashes`: as above."""
        for descriptor in filter(lambda each: each >= 0, (self.pipe, crashes)):
            os.set_inheritable(descriptor, False)


def keep_text(text: str) -> None:
    """Does nothing. It is the function `Plan.failed` of a generation that serves a page with the text of an error,
    so that the page keeps its text when that generation is ready. The supervisor recognises such a generation
    by this function.
    """


class Handed(Protocol):
    """The methods of `net.handover.ListenerSet`, the supervisor's listening sockets, that a supervisor calls."""

    def shut(self) -> None:
        """Close the sockets, so that no more clients are accepted."""

    def hand_over(self) -> list[dict[str, Any]]:
        """Return what a program that this process executes in its place needs to use the sockets, as values for JSON.
        The sockets will stay open in it.
        """

    def keep(self) -> None:
        """Undo what `hand_over` has changed, because the other program could not be executed."""


@dataclass(slots=True)
class Living:
    """The generations of a server (a process that loads and serves the application, with its workers, is one) that
    run: the one that serves, the one that starts, and those that end.
    """

    current: Generation | None = None
    """The generation that serves; None before the first is ready."""
    next: Generation | None = None
    """The generation that starts and will replace the current one; None if none starts."""
    old: list[Generation] = field(default_factory=list)
    """Generations that were replaced and still answer their last requests."""

    def all(self) -> list[Generation]:
        return [each for each in (self.next, self.current, *self.old) if each is not None]


class GenerationFactory:
    """Forks generations. Used only in the main thread of the supervisor.

    What a generation must not keep of the supervisor is closed in it: `stop`, `overseer`, `deaths` and `senders`.
    """

    def __init__(self, stop: Stop, overseer: Overseer, deaths: Deaths, senders: Senders) -> None:
        self._stop = stop
        self._overseer = overseer
        self._deaths = deaths
        self._senders = senders
        self.numbers = 0
        """The number of the last generation that was made."""

    def fork(self, plan: Plan, reason: str, held: Sequence[int]) -> Generation:
        """Fork the process of a generation, made as `plan` says. `reason` says why it replaces the current one: one of
        `metrics.lanes.REASONS`, or "". `held`: more descriptors of the supervisor that are not for it. Raises OSError.
        """
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reading, False)
        self.numbers += 1
        row, file = 0, crashes.new_file()
        try:
            row = self._overseer.allot()
            pid = fork(partial(self._work, plan, (reading, *held), writing, row, file))
        except BaseException:
            os.close(reading)
            if file >= 0:
                os.close(file)
            self._overseer.retire(row)
            raise
        finally:
            os.close(writing)
        self._deaths.watch(pid, file)
        return Generation(self.numbers, pid, reading, plan, monotonic(), plan.recycling.begin(pid), row, reason)

    def _work(self, plan: Plan, held: Sequence[int], writing: int, row: int, file: int) -> int:
        """Called in the child process that is to be a generation: run it until it ends, and return its exit status.
        `held`: descriptors of the supervisor. `writing` is the end of the pipe on which the generation reports, `row`
        its row in the table of metrics, `file` a descriptor to which it writes its stacks when it crashes.
        """
        for descriptor in held:
            os.close(descriptor)
        self._stop.close_in_child()
        self._senders.close_in_child()
        self._overseer.close_in_child()
        self._overseer.occupy(row)
        self._deaths.close_in_child()
        crashes.write_to(file)
        unblock_orders()
        return plan.run(Report(writing))
