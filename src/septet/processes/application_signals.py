"""Signal handlers of the application that raise: the exception reaches the application's code, and not the server's.

Some applications bound what they do by SIGALRM: its handler raises TimeoutError, in whatever the main thread is doing
then. In the application's own code that is what it wants. But a signal that comes a little late would raise in the
server's code, between two statements that belong together, such as taking bytes from a socket and noting them: a
request could be lost, or be answered with another's content. No code can be written so that it holds against that.

So the handlers that the application has set when it was loaded, or in its startup, are replaced by ones that call them.
What such a handler raises goes on only if the interrupted code is the application's, or was called by it: then it ends
that request, or does what the application makes of it. Otherwise it is logged, and the server goes on.

Some applications give SIGPIPE its default action, as programs for the command line do. It would end the process when a
client leaves in the middle of an answer; so the server gets a handler again, which its children do not have.

A handler that the application sets later, while it answers a request, is not replaced. The loops repair what an
exception of such a handler does to them, as far as that is possible: see `septet.loop._interruption`.
"""

import logging
import signal
import sys
from collections.abc import Callable
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

from septet import forked
from septet.processes.other_signals import write_in_handler

_NOT_THE_APPLICATION = sys.stdlib_module_names | {"click", "h2", "hpack", "hyperframe", "websockets"}
"""Top-level packages whose code never calls the application: the standard library, and libraries that the
server uses. If a signal interrupts their code, that alone does not show that the application was running.
"""


_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that end the process by default, and that Python ignores: write(2) fails instead (EPIPE, EFBIG)."""


class GuardedHandler:
    """A signal handler that calls the application's `handler`. If that raises while code of the application was
    interrupted, the exception goes on; if code of the server was interrupted, the exception is logged.

    A child that `handler` has forked ends with `handler` if code of the server was interrupted, which it must not go on
    with.
    """

    def __init__(self, handler: Callable[[int, FrameType | None], Any]) -> None:
        self.handler = handler
        self._is_logging = False
        """True while an exception of `handler` is being logged. If another signal comes meanwhile and `handler` raises
        again, that exception is not logged: if signals came faster than lines can be written, the calls would nest
        without end.
        """

    def __call__(self, number: int, frame: FrameType | None) -> None:
        is_child = forked.by_application
        try:
            with forked.application_may_fork():
                self.handler(number, frame)
        except BaseException as error:
            if forked.by_application and not is_child and not runs_application(frame):
                forked.exit_child(error)
            if forked.by_application or runs_application(frame):
                raise
            if not self._is_logging:
                self._is_logging = True
                write_in_handler(logging.ERROR, "a signal handler of the application raised", error)
                self._is_logging = False
        else:
            if forked.by_application and not is_child and not runs_application(frame):
                forked.exit_child()


def guard_handlers() -> None:
    """Replace the application's signal handlers by GuardedHandlers, and the default action of SIGPIPE and SIGXFSZ by a
    handler that does nothing. Called when the application has been loaded, and again when it has started; more calls
    change nothing. In another thread than the main one, where no handler can be set, it does nothing.
    """
    if current_thread() is not main_thread():
        return
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if (
            callable(handler)
            and handler is not signal.default_int_handler
            and not isinstance(handler, GuardedHandler)
            and not forked.is_ours(number, handler)
        ):
            signal.signal(number, GuardedHandler(handler))
    for number in _IGNORED_BY_PYTHON:
        if signal.getsignal(number) is signal.SIG_DFL:
            forked.set_signal_handler(number, _do_nothing)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """The handler of signals that must not end the server. SIG_IGN would not do: a program that the application
    executes would inherit it."""


def runs_application(frame: FrameType | None) -> bool:
    """Return True if the code that runs in `frame`, or a caller of it, is the application's: code of a module
    outside the server that was called, directly or not, by the server. Callers above the server's outermost
    function do not count: they have started the server.

    If `frame` lies in a call of a GuardedHandler, that call does not count either: it is a signal handler of the
    application, interrupted by a second signal, and not code that answers a request.
    """
    foreign = False
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        package = module.partition(".")[0]
        if package == "septet" and not module.startswith("septet.examples."):
            if foreign and frame.f_code is not GuardedHandler.__call__.__code__:
                return True
            foreign = False
        elif package not in _NOT_THE_APPLICATION:
            foreign = True
        frame = frame.f_back
    return False
