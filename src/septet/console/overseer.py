"""What the supervisor of generations (processes that each load and serve the application) does beside them: the console
at `--metrics-bind` and `--control`, the table of metrics in which all of them count, and messages to the service
manager.

All this is made once, from the first configuration, and kept when HUP loads a new one: otherwise counts would begin
again at 0. At USR2 it is handed over to the program that replaces this one.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from septet.console import control_bind, endpoint_at, state
from septet.console.outcomes import Outcomes
from septet.errors import Failed
from septet.metrics.lanes import GENERATION, KIND, LAYOUT, SERVER
from septet.metrics.monitor import Monitor
from septet.metrics.standstill import StandstillWatch
from septet.metrics.table import Table
from septet.net.handover import ListenerSet
from septet.net.listener import Listener
from septet.net.sd_notify import ServiceManager
from septet.processes.attendant import TURN_S
from septet.processes.orders import Stop
from septet.processes.pid_file import PidFile
from septet.service import monitor_for
from septet.settings.config import Config

if TYPE_CHECKING:
    from septet.console.endpoint import Endpoint

log = logging.getLogger("septet")

BACKLOG = 128

SWEEPS = 5
"""How many times the table of metrics is searched for rows of dead workers, after a generation (a process that loads
the application and forks its workers) has ended: the workers die with it, but not at the same instant. The rows that
are found are freed, and their counts are kept as sums.
"""

_FIXED = ("metrics_bind", "control", "pid_file")
"""Options that a reload does not change: they keep their value until the server is started anew."""


class Console:
    """Implements `processes.attendant.Overseer`: the console and the table of metrics of a supervisor whose generations
    (processes that each load the application) serve. Only its main thread may use it.
    """

    def __init__(
        self,
        config: Config,
        stop: Stop,
        serves: Callable[[], bool],
        manager: ServiceManager,
        state: dict[str, Any] | None,
    ) -> None:
        """serves: returns whether a generation, a process that loads and serves the application, serves. state: what
        `hand_over` of the program that ran in this process before USR2 has returned; None: there was none. manager: the
        service manager; if `state` has one, that one is used instead. Raises Failed.
        """
        self._config = config
        self._manager = ServiceManager(**state["manager"]) if state and "manager" in state else manager
        if state:
            self._manager.main_pid()
        self._pid_file = PidFile(config.pid_file) if config.pid_file is not None else None
        self._write_pid_file(state)
        self._worker_timeout = config.worker_timeout
        self._orphans = 0
        """How many more times the table of metrics is searched for rows of dead workers of a generation (a process that
        loads the application and forks them) that has ended, to free the rows. Set to SWEEPS when a generation ends.
        """
        self._sweep_at = 0.0
        self._listeners = ListenerSet()
        self._endpoint: Endpoint | None = None
        self._outcomes = Outcomes(state.get("outcomes") if state else None)
        self.monitor: Monitor | None = None
        self._described: dict[str, Any] | None = state.get("described") if state else None
        """What the previous program in this process has served: its listeners, certificates, model and application.
        None: there was no such program.
        """
        if state and state["table"] >= 0:
            self._listeners.adopt(state["listeners"])
        if state and state["table"] >= 0 and state.get("layout") == LAYOUT:
            self._adopt(state)
        else:
            self.monitor = monitor_for(config, watched=self._manager.watchdog_s > 0)
        self._standstill: StandstillWatch | None = None
        if self.monitor is not None:
            self.monitor.supervise()
            self._standstill = StandstillWatch(self.monitor.table, SERVER, self.note)
        try:
            self._open(stop, serves)
        except Failed as error:
            if state is None:
                raise
            log.error("USR2: %s; the console is closed", error)  # generations that serve must not end with it

    def _adopt(self, state: dict[str, Any]) -> None:
        """Continue with the table of metrics and the events of the program that ran in this process before USR2. state:
        what its `hand_over` has returned.
        """
        os.set_inheritable(state["table"], False)
        table = Table(state["table"])
        table.take_over(state["row"])
        self.monitor = Monitor(table, self._config.metrics_bind is not None or self._config.control is not None)
        for text in state["events"]:
            self.monitor.events.append(text)

    def _write_pid_file(self, state: dict[str, Any] | None) -> None:
        before = state.get("pid_file") if state else None
        try:
            if self._pid_file is not None:
                self._pid_file.write()
        except Failed as error:
            self._pid_file = None
            if state is None:
                raise
            log.error("USR2: %s", error)
        if before is not None and before != self._config.pid_file:
            PidFile(before).remove_file()

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
        from septet.metrics.reader import Reader

        self._reader = Reader(self.monitor.table, lambda: state(stop.ordered, serves()))
        self._reader.events = self.monitor.events
        if self._described is not None:
            self._reader.adopt(self._described)
        self._reader.orders = self._outcomes.known
        self._endpoint = endpoint_at(self._config, public, private, stop, self._reader, self._outcomes)

    def began(self, config: Config, listeners: Iterable[Listener]) -> None:
        """Called when a generation (a process that loads and serves the application) with this configuration serves.
        From then on its `--worker-timeout` applies, and the status shows its listeners, certificate, model and
        application. For each option that it changes and that a reload cannot change, a warning is logged.
        """
        self._worker_timeout = config.worker_timeout
        for name in _FIXED:
            if getattr(config, name) != getattr(self._config, name):
                log.warning("--%s keeps its value until the next start", name.replace("_", "-"))
        if self._endpoint is not None:
            self._reader.describe(tuple(listeners), config.tls_certificate, model=config.model, app=config.app)

    def close(self) -> None:
        if self._pid_file is not None:
            self._pid_file.remove_file()
        if self._endpoint is not None:
            self._endpoint.close()
        self._listeners.close_others(())

    # For `processes.generations`

    @property
    def turn_s(self) -> float:
        turn_s = TURN_S if self.monitor is not None else float("inf")
        return min(turn_s, self._manager.beats_every_s)

    def beat(self, alive: bool) -> None:
        watchdog_s = self._manager.watchdog_s
        if watchdog_s and alive and (self.monitor is None or self.monitor.serves(watchdog_s)):
            self._manager.beat(alive)

    def ready(self, text: str) -> None:
        self._manager.ready(text)

    def reloading(self, text: str) -> None:
        self._manager.reloading(text)

    def order_begins(self, kind: str) -> bool:
        return self._outcomes.begin(kind)

    def order_ended(self, text: str, failed: bool = False) -> None:
        if event := self._outcomes.end(text, failed):
            self.note(event)

    def stopping(self) -> None:
        self._manager.stopping()

    def ends(self) -> None:
        if self._pid_file is not None:
            self._pid_file.remove_file()

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

    def retire(self, row: int) -> int | None:
        if self.monitor is None or not row or self.monitor.requests is None:
            lost = None
        else:
            lost = self.monitor.table.in_flight_of_process(row) if self.monitor.table.kind(row) == SERVER else None
        if self.monitor is not None and row:
            self.monitor.table.retire(row)
            self._orphans = SWEEPS
        return lost

    def unanswered(self) -> int | None:
        counts = self.monitor is not None and self.monitor.requests is not None
        return self.monitor.table.aborted() if self.monitor is not None and counts else None

    def standing_still(self, pids: Collection[int]) -> list[tuple[int, str]]:
        return self._standstill.look(pids, self._worker_timeout) if self._standstill is not None else []

    def has_ended(self, reason: str, text: str) -> None:
        if self.monitor is not None:
            self.monitor.restarted(reason, text)

    def note(self, text: str) -> None:
        if self.monitor is not None:
            self.monitor.note(text)

    def hand_over(self) -> dict[str, Any]:
        pid_file = self._pid_file.path if self._pid_file is not None else None
        told: dict[str, Any] = {"manager": self._manager.hand_over(), "pid_file": pid_file}
        told["outcomes"] = self._outcomes.known()
        if self._endpoint is not None:
            told["described"] = self._reader.hand_over()
        if self.monitor is None:
            return {"table": -1, **told}
        table = self.monitor.table
        os.set_inheritable(table.descriptor, True)
        listeners, events = self._listeners.hand_over(), list(self.monitor.events)
        known = {"table": table.descriptor, "row": table.number, "layout": LAYOUT}
        return {**told, **known, "listeners": listeners, "events": events}

    def keep(self) -> None:
        if self.monitor is not None:
            os.set_inheritable(self.monitor.table.descriptor, False)
            self._listeners.keep()


def count_generation(monitor: Monitor, has_workers: bool, tell: Callable[[str], object]) -> None:
    """Called in a new generation, a process that loads the application: prepare its `monitor`. `has_workers`: workers
    that it forks will serve; its own row in the table of metrics is then marked as that of a generation. `tell`: called
    with a text about each event, such as the end of a worker.
    """
    if has_workers:
        monitor.table.row[KIND] = GENERATION
    monitor.tell = tell
    monitor.events.clear()
