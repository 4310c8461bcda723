"""Describes as text what the threads and tasks of this process are doing, for the log. Any thread may call it.

A reader looks for the application's lines in such a text. So what led to them is left out: the frames of Septet, of
click and of the interpreter's start that are further out than the application's first. A thread or task without a frame
of the application is idle and is only counted, and stacks that are alike are shown once.
"""

import asyncio
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import CodeType, FrameType
from typing import Any

MOST_FRAMES = 100

_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")
"""Names of the attributes in which a coroutine, a generator or an asynchronous generator has what it waits for."""

MOST_CHARACTERS = 32768
"""Most characters of one dump, so that people and programs can read a record of the log."""

MOST_NAMES = 3
"""Most names of threads or tasks that are listed above a stack that they share."""

_SEPTET = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STANDARD = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
_INSTALLED = tuple({sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib")})
_CLICK = tuple(path + "click" + os.sep for path in _INSTALLED)
_EXECUTOR = os.path.join("concurrent", "futures", "thread.py")

_LIFESPAN = os.path.join("septet", "apps", "_lifespan.py")

RUNS_THIS = ", which runs this request"
HOLDS_LOOP = ", which holds up the event loop"


def dump(
    loop: asyncio.AbstractEventLoop | None,
    mine: int | None = None,
    task: Any = None,
    mark: str = RUNS_THIS,
    everything: bool = False,
) -> str:
    """Return the stacks of all threads of this process, except for the calling one, and of the tasks of `loop`.

    `mine`: identity of the thread that runs the request in question; `task`: its task. These two come first, with
    `mark` after their names. `everything`: True to leave out nothing.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    first: list[_Stack] = []
    others: list[_Stack] = []
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            stack = _Stack("thread", str(names.get(ident, ident)), _of_thread(frame))
            (first if ident == mine else others).append(stack)
    tasks = [
        _Stack("task", each.get_name(), _frames(each.get_coro())) for each in _tasks(loop, task) if each is not task
    ]
    if task is not None:
        first.append(_Stack("task", task.get_name(), _frames(task.get_coro())))
    parts = [f"{each.kind} {each.name}{mark}:\n{each.text(everything)}" for each in first]
    for each in (tasks, others):
        parts += _grouped(each if everything else [stack for stack in each if not stack.is_idle()], everything)
        idle = 0 if everything else sum(map(_Stack.is_idle, each))
        if idle:
            parts.append(f"{idle} idle {each[0].kind}{'s' if idle > 1 else ''} of the server not shown")
    return _cut("\n".join(parts))


def dump_of(mine: int | None, task: Any) -> str:
    """Return the stacks of the thread with the identity `mine` and of the task `task` alone, which run a request;
    either may be None. If there is neither, the text says that nothing runs the request.
    """
    parts = []
    if mine is not None and (frame := sys._current_frames().get(mine)) is not None:
        name = next((each.name for each in threading.enumerate() if each.ident == mine), mine)
        parts.append(f"thread {name}{RUNS_THIS}:\n{_Stack('thread', '', _of_thread(frame)).text()}")
    if task is not None:
        parts.append(f"task {task.get_name()}{RUNS_THIS}:\n{_Stack('task', '', _frames(task.get_coro())).text()}")
    return _cut("\n".join(parts) or "no thread and no task runs this request now")


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "\n  ... and more"


class _Stack:
    """The frames of a thread or task, the outermost first, each with the number of the line that it was executing."""

    def __init__(self, kind: str, name: str, frames: Iterable[FrameType]) -> None:
        self.kind, self.name = kind, name
        self._frames = [(frame, frame.f_lineno) for frame in frames]
        files = [frame.f_code.co_filename for frame, _ in self._frames]
        self._first = application_begins(files)
        """Index of the application's outermost frame; None if there is none."""
        self._is_spare = is_spare(files)
        self._waits_for_end = any(
            file.endswith(_LIFESPAN) and each.f_code.co_name == "_receive"
            for (each, _), file in zip(self._frames, files, strict=True)
        )

    def is_idle(self) -> bool:
        """True if the thread or task does nothing for the application at this moment. That is so for the server's own
        threads, for a thread of an executor that has nothing to do, and for the lifespan task of an application while
        it waits for the shutdown.
        """
        if self._first is not None:
            return self._waits_for_end
        return self._is_spare

    def text(self, everything: bool = False) -> str:
        start = 0 if everything or self._first is None else self._first
        summary = traceback.StackSummary.extract(iter(self._frames[start:]))
        return "".join(summary.format()).rstrip("\n")


def application_begins(files: Sequence[str]) -> int | None:
    """Return the index of the application's outermost frame in a stack; None if there is none. The frames before
    Septet's outermost one are the program that has started the server. files: the file of each frame, the outermost
    frame first.
    """
    inner = next((index for index, file in enumerate(files) if file.startswith(_SEPTET)), 0)
    return next((index for index in range(inner, len(files)) if _is_applications(files[index])), None)


def is_spare(files: Sequence[str]) -> bool:
    """True if a thread in which the application is not is one of the server, or one of an executor that has nothing to
    do. files: as for `application_begins`.
    """
    return not files or files[-1].endswith(_EXECUTOR) or any(file.startswith(_SEPTET) for file in files)


def _is_applications(file: str) -> bool:
    if file.startswith((_SEPTET, "<frozen ", *_CLICK)):
        return False
    return file.startswith(_INSTALLED) or not file.startswith(_STANDARD)


def _grouped(stacks: list[_Stack], everything: bool) -> list[str]:
    """Return the text of each different stack, below the names of the threads or tasks that have it. `everything`: True
    to show the outer frames of each stack, too, which led to the application's first.
    """
    names: dict[str, list[str]] = {}
    for stack in stacks:
        names.setdefault(stack.text(everything), []).append(stack.name)
    parts = []
    for text, sharing in names.items():
        more = f" and {len(sharing) - MOST_NAMES} more" if len(sharing) > MOST_NAMES else ""
        kind = f"{stacks[0].kind}{'s' if len(sharing) > 1 else ''}"
        parts.append(f"{kind} {', '.join(sharing[:MOST_NAMES])}{more}:\n{text}")
    return parts


def _of_thread(frame: FrameType) -> list[FrameType]:
    frames = [each for each, _ in traceback.walk_stack(frame)]
    return frames[MOST_FRAMES - 1 :: -1] if len(frames) > MOST_FRAMES else frames[::-1]


def _tasks(loop: asyncio.AbstractEventLoop | None, first: Any) -> list[Any]:
    if loop is None:
        return []
    try:
        return list(asyncio.all_tasks(loop))
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


def thread_in(code: CodeType, is_it: Callable[[FrameType], bool]) -> int | None:
    """Return the identity of a thread that is in a call of this code, if `is_it` is true for the frame of that call;
    None if there is no such thread.
    """
    found = frame_in((code,), is_it)
    return found[0] if found is not None else None


def frames_in(code: CodeType) -> Iterator[tuple[int, FrameType]]:
    """Yield, for each thread that is in a call of this code, its identity and the frame of the innermost such call."""
    for ident, frame in sys._current_frames().items():
        each: FrameType | None = frame
        while each is not None and each.f_code is not code:
            each = each.f_back
        if each is not None:
            yield ident, each


def frame_in(codes: Iterable[CodeType], is_it: Callable[[FrameType], bool]) -> tuple[int, FrameType] | None:
    """Find a thread that is in a call of one of these codes, if `is_it` is true for the frame of that call. Return the
    thread's identity and the frame; None if there is no such thread.
    """
    for ident, frame in sys._current_frames().items():
        each: FrameType | None = frame
        while each is not None:
            if each.f_code in codes and is_it(each):
                return ident, each
            each = each.f_back
    return None
