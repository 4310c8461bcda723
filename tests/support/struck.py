"""An exception that comes between any two steps of a function, as another thread may raise one at any call."""

import sys
from collections.abc import Callable
from itertools import count
from types import FrameType
from typing import Any

LOOKS = ("call", "c_return")
"""Where CPython looks whether another thread, or a signal handler, has raised something: as a function of Python
begins, and after a call of one in C."""


class Struck(BaseException):
    pass


def struck_at(number: int, do: Callable[[], object], events_of: tuple[str, ...] = ()) -> bool:
    """Call `do`, and raise Struck in it at its `number`-th call or return. False if it has fewer.

    `events_of`: the kinds of calls and returns (`sys.setprofile`) that count; empty: all do.
    """
    events = count()

    def strike(frame: FrameType, event: str, argument: Any) -> None:
        if events_of and event not in events_of:
            return
        if frame.f_code is not struck_at.__code__ and next(events) == number:
            raise Struck

    sys.setprofile(strike)
    try:
        do()
    except Struck:
        return True
    finally:
        sys.setprofile(None)
    return False
