"""Describes as text what the threads and tasks of this process are doing, for the log. Any thread may call it."""

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

MOST_FRAMES = 100

_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")
"""Attributes that name what a coroutine, generator or asynchronous generator waits for."""

MOST_CHARACTERS = 32768
"""Most characters of one dump, so that people and programs can read a record of the log."""


def dump(loop: asyncio.AbstractEventLoop | None, mine: int | None = None, task: Any = None) -> str:
    """Return the stacks of all threads, and of the tasks of `loop`.

    `mine`: identity of the thread that runs the request in question; `task`: its task. These two come first, with a
    mark.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sorted(sys._current_frames().items(), key=lambda item: item[0] != mine)
    parts = []
    for ident, frame in frames:
        if ident == threading.get_ident():
            continue
        mark = ", which runs this request" if ident == mine else ""
        parts.append(f"thread {names.get(ident, ident)}{mark}:\n{_stack(frame)}")
    threads_end = 1 if mine is not None else 0
    parts[threads_end:threads_end] = [_of_task(each, each is task) for each in _tasks(loop, task)]
    text = "\n".join(parts)
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "\n  ... and more"


def _stack(frame: FrameType) -> str:
    return "".join(traceback.format_stack(frame)).rstrip("\n")


def _tasks(loop: asyncio.AbstractEventLoop | None, first: Any) -> list[Any]:
    if loop is None:
        return []
    try:
        return sorted(asyncio.all_tasks(loop), key=lambda task: task is not first)
    except RuntimeError:  # the loop's thread has changed the set again and again meanwhile
        return [first] if first is not None else []


def _frames(coroutine: Any) -> list[FrameType]:
    """Return the frames of a coroutine that waits, the outermost first. asyncio's own `Task.get_stack` returns only
    one.
    """
    frames: list[FrameType] = []
    while coroutine is not None and len(frames) < MOST_FRAMES:
        frame = next((found for name in _FRAMES if (found := getattr(coroutine, name, None)) is not None), None)
        if frame is None:
            break
        frames.append(frame)
        awaited = next((found for name in _AWAITED if (found := getattr(coroutine, name, None)) is not None), None)
        if frame.f_code.co_name == "__await__" and "work" in frame.f_locals:  # of `models._tasks`
            awaited = frame.f_locals["work"]
        coroutine = awaited
    return frames


def _of_task(task: Any, mine: bool) -> str:
    frames = _frames(task.get_coro())
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    mark = ", which runs this request" if mine else ""
    return f"task {task.get_name()}{mark}:\n{''.join(summary.format())}".rstrip("\n")


def thread_in(code: CodeType, is_it: Callable[[FrameType], bool]) -> int | None:
    """The identity of a thread that is in a call of this code for which `is_it(frame)`; None if there is none."""
    for ident, frame in sys._current_frames().items():
        each: FrameType | None = frame
        while each is not None:
            if each.f_code is code and is_it(each):
                return ident
            each = each.f_back
    return None
