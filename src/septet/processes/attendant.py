"""What a supervisor, or a process that forks for its clients, knows of the endpoint of `--metrics-bind`."""

from typing import Protocol


class Attendant(Protocol):
    """Something that the supervisor does beside its workers, in steps that never wait."""

    def fileno(self) -> int:
        """Readable when `turn` has something to do."""

    def turn(self) -> None:
        """Do what can be done now. To be called every second besides. Does not raise."""

    def close_in_child(self) -> None:
        """In a child: close its copies of descriptors."""


TURN_S = 1.0
