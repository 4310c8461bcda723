"""Repairs the loop after a signal handler of the application has raised an exception in the loop's own code.

A handler that raises, as time-outs by SIGALRM do, raises in the main thread wherever that is, also inside the loop.
asyncio is not made for that. If `call_soon` raises, a Future that becomes done has already forgotten whom to wake, and
a task is never run again: a client stays without an answer. The traceback tells what was interrupted, because it has
the frames with their instruction and arguments; so the interrupted call is made again. In the same way a callback of
asyncio's that was to complete a Future, such as the end of `asyncio.sleep`, is called again if the Future is not done.

One case cannot be repaired: if `call_soon` is interrupted while the application's own code wakes a task, for example by
`Event.set`, the exception goes to that code.
"""

from asyncio import futures, isfuture
from functools import partial
from typing import Any

from septet.pollers._interruption import kept_from_beginning


def resume_interrupted(loop: Any, error: BaseException, handle: Any) -> None:
    """Queue again what the exception `error` has prevented: a callback that `call_soon` has not queued, or the callback
    of `handle`, if there is one, that was called and has not begun, or was to complete a Future and has not.

    To be called by the code that has caught `error`, in the thread of `loop`, which is a `_schedule.Schedule`.
    """
    if not (loop._closed or loop._debug):
        _call_soon_again(loop, error)
    if handle is not None:
        if kept_from_beginning(handle._callback, error):
            loop._ready.appendleft(handle)
        elif _has_not_completed(handle):
            # As a partial, which is not called a third time: it may have raised the exception itself.
            loop.call_soon(partial(handle._callback), *handle._args, context=handle._context)


def _has_not_completed(handle: Any) -> bool:
    """True if the callback of `handle` is one by which asyncio completes a Future, at the end of `asyncio.sleep` or
    `run_in_executor`, and the Future is not done. Until then these change nothing, so they can be called again.
    """
    if getattr(handle._callback, "__module__", None) != futures.__name__ or not handle._args:
        return False
    return isfuture(handle._args[0]) and not handle._args[0].done()


def _call_soon_again(loop: Any, error: BaseException) -> None:
    code = type(loop).call_soon.__code__
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is code:
            interrupted: dict[str, Any] = trace.tb_frame.f_locals
            queued = interrupted.get("handle")
            if interrupted["self"] is loop and not any(handle is queued for handle in loop._ready):
                loop.call_soon(interrupted["callback"], *interrupted["args"], context=interrupted["context"])
        trace = trace.tb_next
