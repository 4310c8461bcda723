"""The two ways in which a command ends badly; `cli` alone turns them into an exit status."""


class SeptetError(Exception):
    """One sentence for the person at the terminal."""

    exit_status = 1


class UsageError(SeptetError):
    """What the user wrote is not allowed: the sentence names the option, the value and what is allowed."""

    exit_status = 2


class Failed(SeptetError):
    """The command was right but could not be done: the sentence says what failed and, where known, the cure."""

    def __init__(self, sentence: str, traceback: str = "") -> None:
        super().__init__(sentence)
        self.traceback = traceback
        """The application's own, to be shown before the sentence."""


class Refused(Failed):
    """The application says that it cannot start. The status is uvicorn's for this."""

    exit_status = 3
