"""What a supervisor, or a process that forks for each client, needs to know of the console at `--metrics-bind`: two
interfaces that `septet.console` implements.
"""

from collections.abc import Collection
from typing import Any, Protocol


class Attendant(Protocol):
    """Work that a process does beside its own while it waits for its workers or children, such as answering the
    console. It is done in short steps that never block.
    """

    def fileno(self) -> int:
        """Return a descriptor that is readable when `turn` has something to do."""

    def turn(self) -> None:
        """Do what can be done without waiting. Called when the descriptor of `fileno` is readable, and about every
        second. Does not raise.
        """

    def close_in_child(self) -> None:
        """Close the attendant's descriptors. Called in a child of the process, which has copies of them."""


class Overseer(Attendant, Protocol):
    """What a supervisor does beside keeping a generation running: it answers at the console, keeps the table of
    metrics, and reports the server's state to the service manager that has started it.
    """

    @property
    def turn_s(self) -> float:
        """Seconds after which `turn` and `beat` must be called again, at the latest; infinite if neither is needed."""

    def beat(self, alive: bool) -> None:
        """Tell the service manager that the server is alive, if it is time for that, and if both `alive` is true and
        the serving processes have shown activity. `alive` is True if, as far as the supervisor knows, a generation
        serves, or one starts and is not late. Does not raise.
        """

    def ready(self, text: str) -> None:
        """Tell the service manager that the server serves: because a new generation is ready, or because the present
        one goes on after a reload has failed. `text` is a line for the operator.
        """

    def reloading(self, text: str) -> None:
        """Tell the service manager that a reload begins: a new generation, a process that loads and serves the
        application, is about to replace the present one. `ready` must be called afterwards. `text` is a line for the
        operator.
        """

    def order_begins(self, kind: str) -> bool:
        """Note for the console that an order of the operator is being carried out; `kind` is "reload" or "upgrade".
        `order_ended` must be called afterwards. Returns True if the order was given at the control socket, for which
        the server has sent itself the signal.
        """

    def order_ended(self, text: str, failed: bool = False) -> None:
        """Note for the console how an order, such as to reload, has ended. Also called when a generation, a process
        that loads and serves the application, was started without an order. `text` names the generation that serves, or
        says why the order or the start has failed.
        """

    def stopping(self) -> None:
        """Tell the service manager that the server begins to stop."""

    def ends(self) -> None:
        """Remove the pid file. Called immediately before this process ends."""

    def allot(self) -> int:
        """Return the number of a free row of the table of metrics, in which a generation that is about to be forked
        will count; 0 if there is no table. Raises OSError.
        """

    def occupy(self, row: int) -> None:
        """Called in a generation, a process that loads and serves the application, when it was just forked: count in
        row `row` of the table of metrics from now on.
        """

    def retire(self, row: int) -> int | None:
        """Called when a generation, a process that loads and serves the application, has ended or could not be forked:
        free its row of the table of metrics, and add its counts to those of ended processes. Returns how many requests
        it had in flight; None if they were not counted, or were counted in rows of its workers.
        """

    def unanswered(self) -> int | None:
        """Return how many of the requests that came since the server began have ended without an answer; None if they
        are not counted.
        """

    def standing_still(self, pids: Collection[int]) -> list[tuple[int, str]]:
        """Log which of the generations (the processes that load and serve the application) with these pids stand still.
        Returns those that have shown no activity for `--worker-timeout`: for each its pid, and in words what the
        process did meanwhile.
        """

    def has_ended(self, reason: str, text: str) -> None:
        """Record, for the metrics and the console, that a generation has ended or was replaced. `reason` is one of
        `metrics.lanes.REASONS`, such as "crash" or "reload"; `text` is shown on the console.
        """

    def note(self, text: str) -> None:
        """Record an event about a worker, to be shown on the console."""

    def hand_over(self) -> dict[str, Any]:
        """Return what a program that this process executes in its place needs to continue the console and the table of
        metrics, as values for JSON.
        """

    def keep(self) -> None:
        """Undo what `hand_over` has changed, because the other program could not be executed."""


TURN_S = 1.0
