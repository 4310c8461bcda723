"""Calls to those who may not answer any more."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable


def within(seconds: float, call: Callable[[], object]) -> None:
    """Wait for the call so long, and no longer; what it returns or raises is nobody's concern."""

    def attempt() -> None:
        with contextlib.suppress(Exception):
            call()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
