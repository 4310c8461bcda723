"""What a supervisor, or a process that forks for its clients, knows of the endpoint of `--metrics-bind`."""

from typing import Any, Protocol


class Attendant(Protocol):
    """Something that the supervisor does beside its workers, in steps that never wait."""

    def fileno(self) -> int:
        """Readable when `turn` has something to do."""

    def turn(self) -> None:
        """Do what can be done now. To be called every second besides. Does not raise."""

    def close_in_child(self) -> None:
        """In a child: close its copies of descriptors."""


class Overseer(Attendant, Protocol):
    """What a supervisor of generations does beside them: the console, the table of metrics, and what it tells the
    service manager that has started the server."""

    @property
    def turn_s(self) -> float:
        """Seconds between two calls of `turn` and `beat` at most; infinite if neither is needed."""

    def beat(self, alive: bool) -> None:
        """Tell the service manager that the server is alive, if it is and if that is due. `alive`: as far as the
        supervisor knows, a generation serves, or one starts and is not late. Does not raise."""

    def ready(self, text: str) -> None:
        """Tell it that a generation serves, or goes on after an order that failed. `text`: a line for the operator."""

    def reloading(self, text: str) -> None:
        """Tell it that an order begins to be carried out after which another generation serves. `ready` follows."""

    def stopping(self) -> None:
        """Tell it that the server begins to stop."""

    def ends(self) -> None:
        """Remove the pid file: this process ends now, and closes nothing else."""

    def allot(self) -> int:
        """A row of the table for a generation that is about to be forked; 0 if there is no table. Raises OSError."""

    def occupy(self, row: int) -> None:
        """In the generation: count in this row."""

    def retire(self, row: int) -> None:
        """The generation with this row has ended, and its workers with it."""

    def standing_still(self) -> list[tuple[int, str]]:
        """Generations that have stood still for `--worker-timeout`, and what they did meanwhile."""

    def has_ended(self, reason: str, text: str) -> None:
        """A generation has ended, or ends because another has replaced it; reason: one of `metrics.lanes.REASONS`."""

    def note(self, text: str) -> None:
        """Something has happened to a worker."""

    def hand_over(self) -> dict[str, Any]:
        """What another program, in this process, needs to go on with it."""

    def keep(self) -> None:
        """It was not handed over after all."""


TURN_S = 1.0
