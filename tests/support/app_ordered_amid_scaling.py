"""As `app_scales`; and an order for one more worker (TTIN) comes while the supervisor computes how many there should
be. Not to be imported by a test."""

import os
import signal
from typing import Any

from septet.processes.scaling import Scaling
from support.app_scales import wsgi

__all__ = ["wsgi"]

wanted = Scaling.wanted
ordered = False


def wanted_while_an_order_comes(self: Scaling, *arguments: Any) -> int:
    global ordered
    found = wanted(self, *arguments)
    if not ordered:
        ordered = True
        os.kill(os.getpid(), signal.SIGTTIN)
    return found


Scaling.wanted = wanted_while_an_order_comes  # type: ignore[method-assign]
