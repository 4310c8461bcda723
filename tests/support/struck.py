"""An exception that comes between any two steps of a function, as another thread may raise one at any call."""

import gc
import sys
from collections.abc import Callable
from itertools import count
from types import FrameType
from typing import Any

_REAL = ("call", "c_return")


class Struck(BaseException):
    pass


def struck_at(number: int, do: Callable[[], object], real: bool = False) -> bool:
    """Call `do`, and raise Struck in it at its `number`-th call or return. False if it has fewer. real: only where
    Python lets an exception of another thread come: at the beginning of a function in Python, and after one in C. (So
    a lock that a `with` block has taken is given back.)

    No garbage is collected meanwhile: a strike would end nothing but the finalizer of some other test's object. And
    none comes in `logging`: before Python 3.13 a handler whose lock has just been taken would never give it back, and
    every thread of later tests that logs would wait for ever.
    """
    events = count()
    struck = False

    def strike(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal struck
        if frame.f_code is struck_at.__code__ or frame.f_globals.get("__name__") == "logging":
            return
        if (not real or event in _REAL) and next(events) == number:
            struck = True
            raise Struck

    gc.disable()
    sys.setprofile(strike)
    try:
        do()
    except Struck:
        pass
    finally:
        sys.setprofile(None)
        gc.enable()
    return struck
