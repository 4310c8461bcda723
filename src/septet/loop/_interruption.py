"""What is done again after the exception of a signal handler has come at the wrong moment.

A signal handler of the application that raises, as time-outs by SIGALRM do, raises in the main thread at whatever that
is doing, also in the loop's own code. asyncio is not made for that: when `call_soon` raises, a Future that becomes done
has already forgotten whom to wake, and a task is never run again. Both leave a client without an answer. The traceback
tells what was interrupted: it has the frames, with the instruction and the arguments of each.

What is not saved: an exception that comes in `call_soon` while code of the application wakes a task, by `Event.set` for
example, goes to that code, which alone could do it again.
"""

from asyncio import Handle
from typing import Any

from septet.pollers._interruption import kept_from_beginning


def resume_interrupted(loop: Any, error: BaseException, handle: Handle | None) -> None:
    """Queue again what `error`, which the caller has caught, has kept from happening: a callback that `call_soon` has
    not queued, and the callback of `handle`, which the caller has run, if that has not begun. `loop` is a
    `_schedule.Schedule`, and the caller its thread."""
    if not (loop._closed or loop._debug):
        _call_soon_again(loop, error)
    if handle is not None and kept_from_beginning(handle._callback, error):  # type: ignore[attr-defined]
        loop._ready.appendleft(handle)


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
