"""A task for each request, but only for a request that waits.

Most requests are answered before their application first waits for anything. Such a request needs no task of its own,
but time-outs, task groups and libraries expect that `asyncio.current_task()` gives one. So there is always a spare
task. The application makes its first step as the spare task, in its context. If the application waits then, the spare
becomes its task. If the application has ended, and has changed nothing on the spare, the spare is used for the next
request.

That saves a seventh of the instructions of a small answer: a Task, its Handle and its Context, and their way through
the loop.

Whether the spare is unchanged is read from reference counts and private attributes of asyncio's tasks. Under versions
of Python with which that was not tried, each request has a task as asyncio makes it.
"""

import asyncio
import sys
from collections.abc import Coroutine, Generator, Iterable
from contextvars import Context, copy_context
from gc import get_referents
from operator import is_
from sys import getrefcount
from typing import Any, cast
from weakref import getweakrefcount

from septet import forked
from septet.interpreter import has_gil

Work = Coroutine[Any, Any, None]
"""The coroutine that answers one request."""

TRIED = ((3, 11), (3, 12), (3, 13))
"""Versions of Python with which the tests of this module have been run. Only under these is a task used for
more than one request, because that relies on private attributes of asyncio's tasks.
"""


def may_reuse(version: tuple[int, int], implementation: str, gil: bool) -> bool:
    """True if, under this version of Python, a task that the application has left unchanged may be used for the next
    request as well. implementation: `sys.implementation.name`. gil: True if the interpreter has a global lock.
    """
    return version in TRIED and implementation == "cpython" and gil


def _may_reuse_here() -> bool:
    return may_reuse(sys.version_info[:2], sys.implementation.name, has_gil())


def cancel_all(tasks: Iterable["asyncio.Task[None]"]) -> None:
    for task in list(tasks):
        task.cancel()


class Starter:
    """Starts the tasks of requests on one loop, each in a copy of the context in which the starter was made. Used
    only in the loop's thread. `reuses` is True if a task whose work has ended without a wait may be used for the
    next request as well; None: it is True if `may_reuse` says so for this Python.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, reuses: bool | None = None) -> None:
        self._loop = loop
        self._reuses = _may_reuse_here() if reuses is None else reuses
        self._context = copy_context()
        self._spare: _Spare | None = None

    def start(self, work: Work) -> "asyncio.Task[None] | None":
        """Run `work` until it first waits. Returns the task that goes on with it; None if `work` has ended. Raises
        what `work` raises.

        Call this while the loop runs, from a callback of the loop and not from within a task.
        """
        loop = self._loop
        if loop.get_task_factory() is not None or not self._reuses:  # a task factory of the application makes its own
            made: asyncio.Task[None] | None = loop.create_task(work, context=self._context.copy())
            if made is None:
                raise TypeError("the application's task factory has returned no task")
            return made
        spare = self._spare
        if spare is None:
            spare = _Spare(loop, self._context)
        self._spare = None
        waits = True
        awaited = None
        try:
            # In the block, because a signal handler may raise as soon as this has returned: a task that is never left
            # would keep all others from running.
            asyncio._enter_task(loop, spare.task)
            awaited = spare.context.run(work.send, None)
        except StopIteration:
            waits = False
        finally:
            asyncio._leave_task(loop, spare.task)
        if waits:
            return spare.go_on(work, awaited)
        if spare.is_as_new(self._context):
            self._spare = spare
        else:
            spare.end()
        return None

    def close(self) -> None:
        """End the spare task, which is kept for the next request. Called when no more tasks will be started."""
        if self._spare is not None:
            self._spare.end()
            self._spare = None


class _Spare:
    """A task that is kept for the next request and that asyncio has not begun: it is neither in the loop's queue nor
    among `asyncio.all_tasks()`. It runs in `context`, a copy of the context that it is made with.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self.context = own = context.copy()
        self._rest = _Rest()
        work = _finish(self._rest)
        work.send(None)
        self.task = task = asyncio.Task(work, loop=loop, context=own)
        self._step = _take_back(cast(Any, loop)._ready, task)
        asyncio._unregister_task(task)
        task.get_name()  # which later versions make when it is asked for
        self._referents = get_referents(task)
        self._references = getrefcount(task) + getrefcount(own) + getweakrefcount(task) + getweakrefcount(own)

    def is_as_new(self, context: Context) -> bool:
        """True if the application has not changed the spare task, so that it can be used for another request: its
        context has the values of `context`, and the task was not named or cancelled, has no callbacks and no attributes
        of the application's, and neither the task nor its context (`get_context`, since Python 3.12) is referred to,
        as a key of a dict, for instance, or by a callback that is to run in this context.
        """
        task: Any = self.task
        own = self.context
        return (
            len(own) == len(context)
            and (not context or _has_same_values(own, context))
            and not task.cancelling()
            and not task._must_cancel  # before Python 3.13 it outlives `uncancel`
            and get_referents(task) == self._referents  # name, callbacks, and a dict that can be seen in no other way
            and getrefcount(task) + getrefcount(own) + getweakrefcount(task) + getweakrefcount(own) == self._references
        )

    def go_on(self, work: Work, awaited: Any) -> "asyncio.Task[None]":
        """Make the spare task that of the coroutine `work`, which has yielded `awaited` and waits for it. Returns the
        task.
        """
        self._rest.work = work
        self._rest.awaited = awaited
        return self.end()

    def end(self) -> "asyncio.Task[None]":
        """Hand the spare task to asyncio, and return it. If it was given work (`go_on`), it goes on with that; else it
        ends at once, so that code which the application has made wait for the task goes on.
        """
        asyncio._register_task(self.task)
        step: Any = self._step
        step._context.run(step._callback, *step._args)  # Handle._run would only log what a signal handler raises
        return self.task


def _has_same_values(context: Context, other: Context) -> bool:
    """True if two contexts of one length have the same variables with the same objects as values. Values are not
    compared, because equal ones may change later, and the application's `__eq__` may raise, as that of arrays does.
    """
    return all(map(is_, context, other)) and all(map(is_, context.values(), other.values()))


def _take_back(ready: Any, task: "asyncio.Task[None]") -> asyncio.Handle:
    """Remove the first step of `task` from `ready`, the loop's queue of callbacks, and return it. It is searched
    for from the end, where it is unless another thread has added a callback since.
    """
    for index in range(len(ready) - 1, -1, -1):
        handle: asyncio.Handle = ready[index]
        if getattr(cast(Any, handle)._callback, "__self__", None) is task:
            del ready[index]
            return handle
    if forked.by_application:
        # A child has come back, by waiting, to where other requests are begun: the loop, its parent's, takes none.
        forked.exit_child(RuntimeError("this event loop belongs to the process that has forked this one"))
    raise AssertionError("asyncio puts the first step of a task into the loop's queue")


async def _finish(rest: "_Rest") -> None:
    await rest


class _Rest:
    """The rest of the coroutine `work`, which has made its first step and has yielded `awaited`. Awaiting this
    object runs `work` to its end; if there is no `work`, it does nothing.

    It waits once before that: until the spare task is handed to asyncio. A coroutine that has not begun cannot catch
    the exception by which a task begins that the application has cancelled in its first step.
    """

    __slots__ = ("awaited", "work")

    def __init__(self) -> None:
        self.work: Work | None = None
        self.awaited: Any = None

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            yield
        except asyncio.CancelledError as error:
            if self.work is None:
                raise
            # As asyncio has it: what the application waits for is cancelled, and tells the application so.
            if not (asyncio.isfuture(self.awaited) and self.awaited.cancel()):
                try:
                    self.awaited = self.work.throw(error)
                except StopIteration:
                    return
        work, awaited = self.work, self.awaited
        self.awaited = None
        if work is None:
            return
        while True:
            try:
                yield awaited
                rest = work.__await__()
                break
            except BaseException as error:  # a cancellation at the first wait, after which there may be another
                try:
                    awaited = work.throw(error)
                except StopIteration:
                    return
        yield from rest
