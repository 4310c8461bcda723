"""The signals that do not stop a process: USR1, at which it opens its log files anew, and those that are for the
supervisor alone.

HUP, USR2, TTIN and TTOU are for the supervisor (`generations`). Their default would end or stop any other process, so
there a handler logs a line instead. SIG_IGN would not do: a program that the application executes would inherit it. A
child that the application forks gets the default back. A handler that the application has set, or a signal that is
ignored (nohup), stays as it is.
"""

import _signal  # type: ignore[import-not-found]  # see `forked`
import logging
import os
import signal
from collections.abc import Callable
from types import FrameType

from septet import forked
from septet.streams import reopen_log_files

log = logging.getLogger("septet")

UNUSED_SIGNALS = {
    signal.SIGHUP: "SIGHUP is ignored here: the supervisor loads the application anew, if there is one (--supervisor)",
    signal.SIGUSR2: "SIGUSR2 is ignored here: the supervisor replaces itself, if there is one (--supervisor)",
    signal.SIGTTIN: "SIGTTIN is ignored here: this process has no workers of which it could start another",
    signal.SIGTTOU: "SIGTTOU is ignored here: this process has no workers of which it could stop one",
}
"""Signals that only a supervisor acts on, each with the line that another process logs when it receives the signal."""

HANDLED_SIGNALS = (*UNUSED_SIGNALS, signal.SIGUSR1)
"""Signals for which each process of the server has a handler, in addition to those that order it to stop, or
to drain (another process has taken over).
"""

_HANDLED = tuple(map(int, HANDLED_SIGNALS))  # plain numbers: enums cost each child of forking some pages

pass_on_reopening: Callable[[], None] | None = None
"""Called at USR1, in the signal handler, to send USR1 to the processes that this one has forked. None: there are none.
"""

_hung_up: Callable[[], object] | None = None
"""Called at the signal HUP, to stop the server, if standard error was a terminal that is gone: no user can
stop the server from that terminal any more. None: standard error was not a terminal, or a parent process sees
to this.
"""


def log_unused_signals(hung_up: Callable[[], object]) -> None:
    """Set handlers that log signals which mean nothing to this process (HUP, USR2 and others). Called in the main
    thread of the server, after the application was loaded; processes that it forks call
    `handle_signals_in_child`. If HUP comes because the terminal is gone, `hung_up` is called instead.
    """
    global _hung_up
    _hung_up = hung_up if os.isatty(2) else None
    _log_unused_signals()


def _log_unused_signals() -> None:
    for number in _HANDLED:
        if _signal.getsignal(number) == _signal.SIG_DFL:
            forked.set_signal_handler(number, _handle)


def handle_signals_in_child() -> None:
    """Called in a process that the server has forked: set handlers that log signals which mean nothing to this process
    (HUP, USR2 and others), in place of the parent's, and forget the functions that the parent had set to be called at
    signals. The child must neither pass USR1 to the parent's other children nor stop the parent's server at HUP: if the
    terminal is gone, the parent gets that signal, too, and stops its children.
    """
    global pass_on_reopening, _hung_up
    pass_on_reopening = _hung_up = None
    for number in _HANDLED:
        if not forked.is_ours(number, _handle):
            break
    else:  # the parent has the same handlers, as that of forking
        return
    for number in _HANDLED:
        forked.reset_signal_handler(number)
    _log_unused_signals()


def terminal_is_gone() -> bool:
    """True if standard error was a terminal that is gone. This is checked when the signal HUP comes: if it is
    true, HUP means that the terminal has ended, and is not an order to reload.
    """
    return _hung_up is not None and not os.isatty(2)


def _handle(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGHUP and _hung_up and not os.isatty(2):
        _hung_up()
    elif number == signal.SIGUSR1:
        reopen(pass_on_reopening)
    else:
        write_in_handler(logging.WARNING, UNUSED_SIGNALS[signal.Signals(number)])


def reopen(pass_on: Callable[[], None] | None) -> None:
    """Open the log files of this process anew, because they may have been renamed, and call `pass_on`, which has
    the child processes do the same; None: there are none. May be called in a signal handler.
    """
    for complaint in reopen_log_files():
        write_in_handler(logging.ERROR, complaint)
    if pass_on:
        pass_on()


def write_in_handler(level: int, sentence: str, error: BaseException | None = None) -> None:
    """Log `sentence` in a signal handler, with the traceback of `error` if there is one. It is written straight to
    descriptor 2, because the interrupted code may be writing to sys.stderr, whose methods must not be entered again.
    """
    if not log.isEnabledFor(level):
        return
    raised = None if error is None else (type(error), error, error.__traceback__)
    record = log.makeRecord(log.name, level, __file__, 0, sentence, (), raised)
    handlers = logging.getLogger().handlers
    line = handlers[0].format(record) if handlers else sentence
    try:
        os.write(2, line.encode() + b"\n")
    except OSError:
        pass
