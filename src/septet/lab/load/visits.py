"""A closed loop that also records the instants of single requests, to be joined with what the server says of them.

The figures of a run are counts, because keeping each request would cost the load generator time. A short run that is
no measurement may keep them: `septet.lab.where` splits the time of each request by the server's span log.
"""

from __future__ import annotations

from typing import Any

from .answer import Framing
from .closed_loop import ClosedLoop
from .limits import Route
from .loop import Notify
from .plan import Plan
from .state import User

Visit = tuple[str, int, int, int, int]
"""A request with a right answer: (local address, local port, begun, first byte, answered).

Instants are in nanoseconds of the monotonic clock. A request begins when the user opens the connection for it, or sends
it on a kept one. `first byte` is when the first piece of the answer was read; it equals `answered` if the answer came
in one piece.
"""


class RecordingLoop(ClosedLoop):
    """Records the first `Plan.visits` requests whose answers come in the measured window."""

    def __init__(self, plan: Plan, route: Route, notify: Notify) -> None:
        super().__init__(plan, route, notify)
        self._left = 0
        """Number of requests that are still to be recorded; 0 outside of the measured window."""
        self._visits: list[Visit] = []

    def measure(self) -> None:
        super().measure()
        self._left = self._plan.visits

    def end(self) -> None:
        super().end()
        self._left = 0

    def _complete(self, user: User, framing: Framing, body_bytes: int, now: int, events: int) -> None:
        if self._left and user.socket is not None:
            self._left -= 1
            first_ns = now if user.answer is None else user.first_ns
            address, port = user.socket.getsockname()[:2]
            self._visits.append((address, port, user.started_ns, first_ns, now))
        super()._complete(user, framing, body_bytes, now, events)

    def raw(self) -> dict[str, Any]:
        return {**super().raw(), "visits": self._visits}
