"""An exception that comes between any two steps of a function, as another thread may raise one at any call."""

import sys
from collections.abc import Callable
from itertools import count
from types import FrameType
from typing import Any


class Struck(BaseException):
    pass


def struck_at(number: int, do: Callable[[], object]) -> bool:
    """Call `do`, and raise Struck in it at its `number`-th call or return. False if it has fewer."""
    events = count()

    def strike(frame: FrameType, event: str, argument: Any) -> None:
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
