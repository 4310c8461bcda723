"""A task for each request, but only for a request that waits.

Most requests are answered before their application first waits for anything. Such a one needs no task of its own, only
somebody to be: time-outs, task groups and libraries ask for `asyncio.current_task()`. So there is always a spare task.
The application takes its first step in the name and in the context of the spare. If it waits then, the spare goes on
with it and is its task for good. If it has ended, and has left no trace on the spare, the next request has the same.

That saves a seventh of the instructions of a small answer: a Task, its Handle and its Context, and their way through
the loop.

What tells that nothing is left are reference counts and private parts of asyncio's tasks. Elsewhere than in versions of
Python with which that was tried, each request has a task as asyncio makes it.
"""

import asyncio
import sys
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from operator import is_
from sys import getrefcount
from typing import Any, cast
from weakref import getweakrefcount

Work = Coroutine[Any, Any, None]

TRIED = ((3, 11), (3, 12), (3, 13))


def may_reuse(version: tuple[int, int], implementation: str, gil: bool) -> bool:
    """Whether a spare task may be used for more than one request under such a Python."""
    return version in TRIED and implementation == "cpython" and gil


def _may_reuse_here() -> bool:
    has_gil: Any = getattr(sys, "_is_gil_enabled", None)  # since Python 3.13
    return may_reuse(sys.version_info[:2], sys.implementation.name, has_gil is None or has_gil())


class Starter:
    """Starts the tasks of one loop, each in a copy of the context in which this is made. For the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reuses: bool | None = None) -> None:
        self._loop = loop
        self._reuses = _may_reuse_here() if reuses is None else reuses
        self._context = copy_context()
        self._spare: _Spare | None = None

    def start(self, work: Work) -> "asyncio.Task[None] | None":
        """Take the first step of `work`; the task that goes on with it, or None if it has come to its end.

        Called while the loop runs, and none of its tasks does.
        """
        loop = self._loop
        if loop.get_task_factory() is not None or not self._reuses:  # or the application has its own idea of a task
            return loop.create_task(work, context=self._context.copy())
        spare = self._spare
        if spare is None:
            spare = _Spare(loop, self._context.copy())
        self._spare = None
        waits = True
        awaited = None
        asyncio._enter_task(loop, spare.task)
        try:
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
        """No more will be started."""
        if self._spare is not None:
            self._spare.end()
            self._spare = None


class _Spare:
    """A task that has not begun, and is in nobody's way: not in the loop's queue, nor among `asyncio.all_tasks()`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self.context = context
        self._rest = _Rest()
        self.task = asyncio.Task(_finish(self._rest), loop=loop, context=context)
        self._step = _take_back(cast(Any, loop)._ready, self.task)
        asyncio._unregister_task(self.task)
        self._name = self.task.get_name()
        self._references = getrefcount(self.task)

    def is_as_new(self, context: Context) -> bool:
        """Whether what has been done in its name has changed nothing: its context holds what this one does, nobody has
        named or cancelled it or waits for its end, and nobody has kept it, as a key for instance."""
        task = self.task
        return (
            self.context == context
            # What is equal may be another's nevertheless, and change later.
            and (not context or all(map(is_, self.context.values(), context.values())))
            and task.get_name() == self._name
            and not task.cancelling()
            and not cast(Any, task)._must_cancel  # before Python 3.13 it outlives `uncancel`
            and not cast(Any, task)._callbacks
            and getrefcount(self.task) - 1 == self._references
            and getweakrefcount(task) == 0
        )

    def go_on(self, work: Work, awaited: Any) -> "asyncio.Task[None]":
        """Become the task of `work`, which waits for what it has yielded."""
        self._rest.work = work
        self._rest.awaited = awaited
        return self.end()

    def end(self) -> "asyncio.Task[None]":
        """Become a task like any other; one without work ends at once, as whoever waits for it will expect."""
        asyncio._register_task(self.task)
        self._step._run()
        return self.task


def _take_back(ready: Any, task: "asyncio.Task[None]") -> asyncio.Handle:
    """The task's first step, out of the loop's queue. It is the last there unless another thread was quick."""
    for index in range(len(ready) - 1, -1, -1):
        handle: asyncio.Handle = ready[index]
        if getattr(cast(Any, handle)._callback, "__self__", None) is task:
            del ready[index]
            return handle
    raise AssertionError("asyncio puts the first step of a task into the loop's queue")


async def _finish(rest: "_Rest") -> None:
    if rest.work is not None:
        await rest


class _Rest:
    """A coroutine after its first step."""

    __slots__ = ("awaited", "work")

    def __init__(self) -> None:
        self.work: Work | None = None
        self.awaited: Any = None

    def __await__(self) -> Generator[Any, Any, None]:
        work, awaited = self.work, self.awaited
        assert work is not None, "only what was begun has a rest"
        self.awaited = None
        while True:
            try:
                yield awaited
                break
            except BaseException as error:  # a cancellation at the first wait, after which there may be another
                try:
                    awaited = work.throw(error)
                except StopIteration:
                    return
        yield from work.__await__()
