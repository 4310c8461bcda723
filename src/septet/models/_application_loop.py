"""Running an event loop on which an application has tasks.

asyncio raises SystemExit and KeyboardInterrupt of any task from `run_forever`. In a server one request would so end all
others. Therefore the loop is run again until the work that it was started for is done. The exception stays with its
task, and is raised where the task is awaited.
"""

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from septet import forked
from septet.apps._lifespan import Lifespans
from septet.errors import Failed
from septet.loop import ReadinessLoop
from septet.pollers import READABLE
from septet.processes.application_signals import guard_handlers
from septet.processes.orders import Stop

log = logging.getLogger("septet")

STOPPED = "the application stopped the event loop, which goes on"


def run_through(loop: ReadinessLoop, work: Coroutine[Any, Any, None]) -> None:
    """Run the loop until `work` is done, even if other tasks or signal handlers raise meanwhile, or call `loop.stop()`.
    The task of `work` is the server's: the application's task factory does not make it, and an application that
    cancels `asyncio.all_tasks()` does not find it there.

    Raises what `work` raises, and OSError and the like if the loop itself cannot go on.
    """
    task = asyncio.Task(work, loop=loop)
    asyncio._unregister_task(task)
    while True:
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if forked.by_application:
                forked.exit_child(error)
            # A callback may raise in the iteration in which the work is done: the next run returns its result.
            if task.done() and (task.cancelled() or task.exception() is error):
                raise
            if has_failed(loop, error):
                raise
            loop.forget_run()
            if isinstance(error, RuntimeError) and not task.done():
                log.error(STOPPED)
            else:
                _tell(error)


def run_until(loop: ReadinessLoop, over: Callable[[], bool], repair: Callable[[], None]) -> None:
    """Run the loop until it stops and `over()` is true. If a task or a signal handler of the application raises, or
    calls `loop.stop()`, run it again; after an exception, which may have interrupted a callback of the server, call
    `repair` first. Raises the exception if the loop itself cannot go on.
    """
    while not over():
        try:
            _run_until(loop, over, repair)
        except BaseException as error:  # raised at the one place where `_run_until` does not catch it
            if has_failed(loop, error) or forked.by_application:
                raise


def _run_until(loop: ReadinessLoop, over: Callable[[], bool], repair: Callable[[], None]) -> None:
    raised: BaseException | None = None
    while not over():
        try:
            if raised is not None:
                loop.forget_run()
                _tell(raised)
                repair()
                raised = None
            loop.run_forever()
            if not over():
                log.error(STOPPED)
        except BaseException as error:
            if forked.by_application:  # a child that a task or a signal handler has forked
                forked.exit_child(error)
            if has_failed(loop, error):
                raise
            raised = error  # handled by the next round, for another signal could interrupt that


def has_failed(loop: ReadinessLoop, error: BaseException) -> bool:
    """Return True if `error`, which a run of the loop has raised, means that the loop cannot go on: it, or its
    descriptor, is closed. Other exceptions come from signal handlers and tasks of the application, which may raise
    anything: the loop can be run again.
    """
    if loop.is_closed():
        return True
    if not _raised_by_server(error):
        return False
    if isinstance(error, OSError):
        return error.errno in (errno.EBADF, errno.EINVAL)
    return isinstance(error, ValueError) and "closed" in str(error)  # select.epoll's own


def _raised_by_server(error: BaseException) -> bool:
    """True if the code that has raised `error` is a function of the server, or a system call that it has made."""
    of_exceptions: Any = BaseException.__traceback__  # the application's class may have one of its own
    at: TracebackType | None = of_exceptions.__get__(error)
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at is not None and at.tb_frame.f_globals.get("__name__", "").startswith("septet.")


def _tell(error: BaseException) -> None:
    log.error("the application raised %r, in a task or a signal handler: its event loop goes on", error)


def start_application(loop: ReadinessLoop, lifespan: Lifespans, stop: Stop) -> bool:
    """Run the applications' lifespan startups on a loop of the calling thread. Returns True when they have
    started. Raises Failed if one fails.

    Returns False if the order to stop came first: then the startup was cancelled.
    """

    async def start() -> None:
        starting = asyncio.current_task(loop)
        assert starting is not None, "a coroutine runs in a task"
        order = stop.fileno_here()
        loop.watch(order, READABLE, lambda mask: stop.drain_and_check() and starting.cancel())
        try:
            await lifespan.startup()
        finally:
            loop.unwatch(order)

    try:
        run_through(loop, start())
    except asyncio.CancelledError:
        run_through(loop, loop.wind_up())
        return False
    except Failed:
        run_through(loop, loop.wind_up())
        raise
    if stop.has_signals:
        guard_handlers()
    return True
