"""An exception that comes between any two steps of a function, as another thread may raise one at any call."""

import sys
from collections.abc import Callable
from itertools import count
from types import FrameType
from typing import Any


class Struck(BaseException):
    pass


def struck_at(number: int, do: Callable[[], object], but: str = "") -> bool:
    """Call `do`, and raise Struck in it at its `number`-th call or return. False if it has fewer. but: an event of
    `sys.setprofile` that is not one of them; a real exception does not come at the return of a function in Python.
    """
    events = count()
    struck = False

    def strike(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal struck
        if frame.f_code is not struck_at.__code__ and event != but and next(events) == number:
            struck = True
            raise Struck

    sys.setprofile(strike)
    try:
        do()
    except Struck:
        pass
    finally:
        sys.setprofile(None)
    return struck
