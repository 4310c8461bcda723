"""HUP and USR1, which mean "reload" and "reopen the logs" to other servers and nothing here yet.

Their default would end the process at once and cut every answer, so they are answered by a line in the log. It is a
handler that does so and not SIG_IGN, which a program that the application executes would inherit; a child that the
application forks gets the default back. Where the application has a handler of its own, or the signal is ignored
(nohup), it stays so.
"""

import logging
import os
import signal
from collections.abc import Callable
from types import FrameType

from septet import forked

log = logging.getLogger("septet")

WITHOUT_MEANING = {
    signal.SIGHUP: "SIGHUP has no meaning yet, and is ignored: restart the server to load its application anew",
    signal.SIGUSR1: "SIGUSR1 has no meaning yet, and is ignored: restart the server to open its logs anew",
}

_hung_up: Callable[[], object] | None = None
"""Called when the terminal, on which standard error was, is gone: then nobody is left to stop the server."""


def log_signals_without_meaning(hung_up: Callable[[], object]) -> None:
    """For the main thread of the server, once it has loaded the application; its forks call `log_again`."""
    global _hung_up
    _hung_up = hung_up if os.isatty(2) else None
    log_again()


def log_again() -> None:
    """In a process that we have forked. The supervisor tells it when the terminal is gone."""
    for number in WITHOUT_MEANING:
        if signal.getsignal(number) is signal.SIG_DFL:
            forked.set_signal_handler(number, _handle)


def _handle(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGHUP and _hung_up and not os.isatty(2):
        _hung_up()
    else:
        _write(WITHOUT_MEANING[signal.Signals(number)])


def _write(sentence: str) -> None:
    """Log a warning, in a handler: what it interrupts may be in the midst of writing to sys.stderr, which must not be
    entered again, so the line goes to the descriptor."""
    if not log.isEnabledFor(logging.WARNING):
        return
    record = log.makeRecord(log.name, logging.WARNING, __file__, 0, sentence, (), None)
    handlers = logging.getLogger().handlers
    line = handlers[0].format(record) if handlers else sentence
    try:
        os.write(2, line.encode() + b"\n")
    except OSError:
        pass
