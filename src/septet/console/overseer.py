"""The console of a supervisor whose generations serve, and the table of metrics that they all count in.

It is made once, with the first configuration: a table and an address that changed at HUP would tell nothing any more of
what was before. At USR2 both are handed to the next program.
"""

import logging
import os
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from septet.console import control_bind, endpoint_at, state
from septet.console.endpoint import Endpoint
from septet.errors import Failed
from septet.metrics.lanes import GENERATION, KIND, LAYOUT, SERVER
from septet.metrics.monitor import Monitor
from septet.metrics.reader import Reader
from septet.metrics.table import Table
from septet.net.handover import ListenerSet
from septet.net.listener import Listener
from septet.processes.attendant import TURN_S
from septet.processes.orders import Stop
from septet.service import monitor_for
from septet.settings.config import Config

log = logging.getLogger("septet")

BACKLOG = 128

SWEEPS = 5
"""After the end of a generation. Its workers die with it, but not in the same instant."""

_FIXED = ("metrics_bind", "control")
"""Options that keep their first value until the next start."""


class Console:
    """Implements `processes.attendant.Overseer`. For the main thread of the supervisor."""

    def __init__(self, config: Config, stop: Stop, serves: Callable[[], bool], state: dict[str, Any] | None) -> None:
        """serves: whether a generation serves. state: what `hand_over` of another program has given. Raises Failed."""
        self._config = config
        self._worker_timeout = config.worker_timeout
        self._orphans = 0
        """How often rows of workers are looked for whose generation has ended before them."""
        self._sweep_at = 0.0
        self._listeners = ListenerSet()
        self._endpoint: Endpoint | None = None
        self.monitor: Monitor | None = None
        if state and state["table"] >= 0:
            self._listeners.adopt(state["listeners"])
        if state and state["table"] >= 0 and state.get("layout") == LAYOUT:
            self._adopt(state)
        else:
            self.monitor = monitor_for(config)
        if self.monitor is not None:
            self.monitor.supervise()
        try:
            self._open(stop, serves)
        except Failed as error:
            if state is None:
                raise
            log.error("USR2: %s; the console is closed", error)  # generations that serve must not end with it

    def _adopt(self, state: dict[str, Any]) -> None:
        """Go on with the table of the program that this one has replaced."""
        os.set_inheritable(state["table"], False)
        table = Table(state["table"])
        table.take_over(state["row"])
        self.monitor = Monitor(table, self._config.metrics_bind is not None or self._config.control is not None)
        for text in state["events"]:
            self.monitor.events.append(text)

    def _open(self, stop: Stop, serves: Callable[[], bool]) -> None:
        given = (("--metrics-bind", self._config.metrics_bind), ("--control", control_bind(self._config)))
        binds = {option: bind for option, bind in given if bind is not None}
        if self.monitor is None or not binds:
            return
        umask = os.umask(0o177)  # for the control socket
        try:
            listeners = self._listeners.open(binds.values(), BACKLOG, binds)
        finally:
            os.umask(umask)
        public = listeners[:1] if self._config.metrics_bind is not None else ()
        private = listeners[len(public) :]
        self._listeners.close_others(listeners)
        self._reader = Reader(self.monitor.table, lambda: state(stop.ordered, serves()))
        self._reader.events = self.monitor.events
        self._endpoint = endpoint_at(self._config, public, private, stop, self._reader)

    def began(self, config: Config, listeners: Iterable[Listener]) -> None:
        """A generation with this configuration serves from now on."""
        self._worker_timeout = config.worker_timeout
        for name in _FIXED:
            if getattr(config, name) != getattr(self._config, name):
                log.warning("--%s keeps its value until the next start", name.replace("_", "-"))
        if self._endpoint is not None:
            self._reader.describe(tuple(listeners), config.tls_certificate, model=config.model, app=config.app)

    def close(self) -> None:
        if self._endpoint is not None:
            self._endpoint.close()
        self._listeners.close_others(())

    # For `processes.generations`

    @property
    def has_turns(self) -> bool:
        return self.monitor is not None

    def fileno(self) -> int:
        return self._endpoint.fileno() if self._endpoint is not None else -1

    def turn(self) -> None:
        now = monotonic()
        if self.monitor is not None and self._orphans and now >= self._sweep_at:
            self._sweep_at = now + TURN_S
            self._orphans -= 1
            self.monitor.table.retire_ended()
        if self._endpoint is not None:
            self._endpoint.turn()

    def close_in_child(self) -> None:
        if self._endpoint is not None:
            self._endpoint.close_in_child()

    def allot(self) -> int:
        return self.monitor.table.allot() if self.monitor is not None else 0

    def occupy(self, row: int) -> None:
        if self.monitor is not None:
            self.monitor.table.occupy(row, SERVER)

    def retire(self, row: int) -> None:
        if self.monitor is not None and row:
            self.monitor.table.retire(row)
            self._orphans = SWEEPS

    def standing_still(self) -> list[tuple[int, str]]:
        if self.monitor is None or not self._worker_timeout:
            return []
        return self.monitor.standing_still(self._worker_timeout, SERVER)

    def has_ended(self, reason: str, text: str) -> None:
        if self.monitor is not None:
            self.monitor.restarted(reason, text)

    def note(self, text: str) -> None:
        if self.monitor is not None:
            self.monitor.note(text)

    def hand_over(self) -> dict[str, Any]:
        if self.monitor is None:
            return {"table": -1}
        table = self.monitor.table
        os.set_inheritable(table.descriptor, True)
        listeners, events = self._listeners.hand_over(), list(self.monitor.events)
        known = {"table": table.descriptor, "row": table.number, "layout": LAYOUT}
        return {**known, "listeners": listeners, "events": events}

    def keep(self) -> None:
        if self.monitor is not None:
            os.set_inheritable(self.monitor.table.descriptor, False)
            self._listeners.keep()


def count_generation(monitor: Monitor, has_workers: bool, tell: Callable[[str], object]) -> None:
    """In a generation: it counts in its row. tell: called with what has happened to a worker."""
    if has_workers:
        monitor.table.row[KIND] = GENERATION
    monitor.tell = tell
    monitor.events.clear()
