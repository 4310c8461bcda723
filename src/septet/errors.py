"""The errors with which a command ends. The command line prints them as one sentence, and exits with `exit_status`.

Also what can be said of an exception that is not one of these.
"""

import opcode
from types import TracebackType

_RAISE = opcode.opmap["RAISE_VARARGS"]


class SeptetError(Exception):
    """Base class: an error whose text is one sentence for the user."""

    exit_status = 1


class UsageError(SeptetError):
    """The command line or configuration is not allowed. The sentence names the option, the value and what is
    allowed."""

    exit_status = 2


class Failed(SeptetError):
    """The command is valid but failed. The sentence says what failed and, if known, what to do."""

    def __init__(self, sentence: str, traceback: str = "") -> None:
        super().__init__(sentence)
        self.traceback = traceback
        """The traceback of an exception of the application, as text that is printed before the sentence; "" if there is
        none.
        """


class Refused(Failed):
    """The application reports that it cannot start (ASGI lifespan). The exit status is 3, as in uvicorn."""

    exit_status = 3


def described(error: BaseException) -> str:
    """Return the class of an exception of the application, and its text if it has one. Never raises, although the
    exception is an object of the application's, which may raise when it is asked for its text.
    """
    try:
        name, text = type(error).__name__, str(error)
    except BaseException:
        return "an exception that cannot be shown"
    return f"{name}: {text}" if text else name


def is_raised_at(trace: TracebackType) -> bool:
    """True if the function of this entry of a traceback, which is to be the last, has raised the exception itself, by a
    `raise`. One of a signal handler or of another thread comes between two instructions, and one of C at a call.
    """
    instructions, at = trace.tb_frame.f_code.co_code, trace.tb_lasti
    return at >= 0 and instructions[at] == _RAISE
