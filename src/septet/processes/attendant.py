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
        """Tell the service manager that the server is alive, if that is due, if `alive` is true, and if the serving
        processes are not stuck. `alive`: as far as the supervisor knows, a generation serves, or one starts and is not
        late. Does not raise.
        """

    def ready(self, text: str) -> None:
        """Tell the service manager that a generation serves, or goes on after an order that failed. `text`: a line for
        the operator.
        """

    def reloading(self, text: str) -> None:
        """Tell the service manager that a new generation is about to replace the present one. `ready` is called
        afterwards.
        """

    def order_begins(self, kind: str) -> None:
        """Note that an order is carried out from now on; `order_ended` follows. kind: "reload" or "upgrade"."""

    def order_ended(self, text: str, failed: bool = False) -> None:
        """Note how an order has ended, or the start of a generation that no order has caused. text: the generation that
        serves, or the reason of the failure."""

    def stopping(self) -> None:
        """Tell the service manager that the server begins to stop."""

    def ends(self) -> None:
        """Remove the pid file. Called immediately before this process ends."""

    def allot(self) -> int:
        """Return the number of a free row of the table of metrics, for a generation that is about to be forked; 0 if
        there is no table. Raises OSError.
        """

    def occupy(self, row: int) -> None:
        """Have this process, a generation that was just forked, count in this row of the table of metrics."""

    def retire(self, row: int) -> int | None:
        """Free a row of the table of metrics, and add its counts to those of ended processes: the generation that had
        it has ended, or could not be forked. Returns how many requests that generation had in flight; None if they were
        not counted, or were counted in rows of its workers.
        """

    def unanswered(self) -> int | None:
        """Return how many requests were not answered since the server began; None if they are not counted."""

    def standing_still(self, pids: Collection[int]) -> list[tuple[int, str]]:
        """Log which of the generations with these pids stand still. Returns those that have shown no activity for
        `--worker-timeout`: the pid of each, and in words what its process did meanwhile.
        """

    def has_ended(self, reason: str, text: str) -> None:
        """Record that a generation has ended, or was replaced. `reason`: one of `metrics.lanes.REASONS`."""

    def note(self, text: str) -> None:
        """Record an event about a worker, to be shown on the console."""

    def hand_over(self) -> dict[str, Any]:
        """Return what the next program in this process needs to continue the console and the table, as JSON values."""

    def keep(self) -> None:
        """Undo `hand_over`: the next program could not be executed."""


TURN_S = 1.0
