"""How a verb is ended from outside: TERM is taken as Ctrl-C is, and unwinds through every `finally` on the way.

By default TERM ends a process where it stands, and what it started is left behind: servers, and load that nobody waits
for. `timeout`, CI runners and service managers all send TERM first. KILL nobody sees; see `guard`.
"""

from __future__ import annotations

import signal


def term_as_interrupt() -> None:
    """From now on TERM raises KeyboardInterrupt in the main thread, from which this must be called."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
