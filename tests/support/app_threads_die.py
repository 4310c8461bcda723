"""The fixture applications in a process whose new threads end before they have begun, between USR1 and USR2, as they do
for want of memory. Not to be imported by a test."""

import signal
import threading
from types import FrameType

from support import apps_asgi, apps_wsgi, journal

_begin = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]
_dying = False


def _begin_or_die(thread: threading.Thread) -> None:
    if _dying:
        raise MemoryError("deliberate")
    _begin(thread)


def _set_dying(number: int, frame: FrameType | None) -> None:
    global _dying
    _dying = number == signal.SIGUSR1
    journal.write("new threads die" if _dying else "new threads live")


threading.Thread._bootstrap_inner = _begin_or_die  # type: ignore[attr-defined]
signal.signal(signal.SIGUSR1, _set_dying)
signal.signal(signal.SIGUSR2, _set_dying)

wsgi, asgi = apps_wsgi.app, apps_asgi.app
