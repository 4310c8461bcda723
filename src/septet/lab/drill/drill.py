"""The drill of one model: start its server, load it, give it orders, and count what was lost."""

from __future__ import annotations

import os
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from septet.lab import proc
from septet.lab.drill.users import Loss, Tally, Users
from septet.lab.experiment import Cell, Experiment
from septet.lab.server import Server, free_port

NAMES = ("reload", "upgrade", "kill", "stop")

FIRST_ORDER_S = 0.5
LAST_ORDER_S = 0.7
"""Seconds at the end of a drill in which no order (reload, upgrade, kill or stop) is given, so that the last order can
show its effect before the drill ends.
"""

SUPERVISED = {"SEPTET_SUPERVISOR": "yes"}

DYING_S = 0.5
"""Seconds for which a killed process may still hold its connections. A request that is sent to the process within this
time is lost, and counts as lost by the killing.
"""

_CARRIED_OUT = {"reload": " serves; generation ", "upgrade": " runs Septet "}
"""For each order of which the server's log tells, the text in the log that shows that it was carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """What is done to the server of each model: every `every_s` seconds it gets the order `name` (reload, upgrade, kill
    or stop), while `users` users load it with `rate` requests per second in all, for `duration_s` seconds. The order
    "stop" is given only once, near the end.
    """

    name: str
    users: int
    rate: float
    duration_s: float
    every_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of the drill of one model."""

    model: str
    tally: Tally
    orders: list[float]
    """When each order was given, in seconds of `time.monotonic`."""
    carried_out: int | None
    """Number of orders that the server has carried out; None if its log does not tell."""
    excused: int
    """Number of lost requests that the order itself explains: those of a process that the drill killed."""
    status: int
    """The server's exit status."""

    @property
    def lost(self) -> list[Loss]:
        return self.tally.losses

    @property
    def passed(self) -> bool:
        complete = self.carried_out is None or self.carried_out > 0
        return len(self.lost) == self.excused and self.status == 0 and complete


def run(drill: Drill, experiment: Experiment, model: str) -> Outcome:
    """Run the drill with one model and return its outcome. Raises Failed if the server does not start, or ends too
    early.
    """
    port = free_port(experiment.host)
    with tempfile.TemporaryDirectory(prefix="septet-drill-") as scratch:
        environment = experiment.environment(Path(scratch)) | SUPERVISED
        command = experiment.command(Cell(model, drill.users), port)
        with Server(command, environment, experiment.stop_timeout_s, experiment.pinned.server) as server:
            server.await_answer(experiment.url(port), experiment.start_timeout_s)
            keepers = (drill.users + 1) // 2
            users = Users((experiment.host, port), experiment.path, keepers, drill.users - keepers, drill.rate)
            orders: list[float] = []
            tally = users.run(drill.duration_s, _orders(drill, server, users, orders))
            if drill.name == "stop":
                server.wait(experiment.stop_timeout_s)
            else:
                server.check_alive()
            stopped = server.stop()
            said = server.output()
    logged = _CARRIED_OUT.get(drill.name)
    excused = sum(_died(loss, orders) for loss in tally.losses) if drill.name == "kill" else 0
    return Outcome(model, tally, orders, said.count(logged) if logged else None, excused, int(stopped["status"]))


def _orders(drill: Drill, server: Server, users: Users, given: list[float]) -> list[tuple[float, Callable[[], None]]]:
    """Return the orders of the drill, each as (seconds from the beginning of the drill, function that gives the order).
    When a function is called, it appends the time to `given`, in seconds of `time.monotonic`.
    """
    chance = random.Random(1)

    def order() -> None:
        given.append(users.now())
        if drill.name == "reload":
            os.kill(server.session, signal.SIGHUP)
        elif drill.name == "upgrade":
            os.kill(server.session, signal.SIGUSR2)
        elif drill.name == "kill":
            _kill_one(server.session, chance)
        else:
            users.begin_no_more()
            os.kill(server.session, signal.SIGTERM)

    if drill.name == "stop":
        return [(drill.duration_s - LAST_ORDER_S, order)]
    count = max(1, int((drill.duration_s - FIRST_ORDER_S - LAST_ORDER_S) / drill.every_s) + 1)
    return [(FIRST_ORDER_S + number * drill.every_s, order) for number in range(count)]


def _kill_one(supervisor: int, chance: random.Random) -> None:
    """Kill a process below the supervisor, drawn by `chance`: a generation or one of its workers."""
    below = [process.pid for process in proc.processes_of(supervisor) if process.alive and process.pid != supervisor]
    if below:
        os.kill(chance.choice(below), signal.SIGKILL)


def _died(loss: Loss, kills: list[float]) -> bool:
    """True if the lost request was in flight when a process was killed, or was sent so soon after the killing that the
    end of the process could not be seen yet. `kills`: the times at which processes were killed, in seconds of
    `time.monotonic`.
    """
    return any(loss.began_at <= kill + DYING_S and loss.lost_at >= kill for kill in kills) and (
        not loss.reason.startswith("connecting")
    )


def sentence(outcome: Outcome) -> str:
    """Return the outcome in one line, with one more line for each kind of loss."""
    tally = outcome.tally
    requests = tally.answered + len(tally.losses)
    orders = f"{len(outcome.orders)} order{'s' * (len(outcome.orders) != 1)}"
    if outcome.carried_out is not None:
        orders += f", {outcome.carried_out} carried out"
    excused = f" ({outcome.excused} of them died with their process)" if outcome.excused else ""
    lines = [
        f"{outcome.model}: lost: {len(tally.losses)}{excused} of {requests:,} requests; {orders}; "
        f"slowest {tally.slowest_s * 1000:.0f} ms"
    ]
    kinds = Counter((loss.reason, loss.keeps) for loss in tally.losses)
    for (reason, keeps), count in kinds.most_common():
        times = [loss.began_at for loss in tally.losses if (loss.reason, loss.keeps) == (reason, keeps)]
        whose = "kept connections" if keeps else "new connections"
        lines.append(f"  {count} x {reason} ({whose}); the first {_after(times[0], outcome.orders)}")
    if outcome.status:
        lines.append(f"  the server ended with status {outcome.status}")
    return "\n".join(lines)


def _after(began_at: float, orders: list[float]) -> str:
    before = [order for order in orders if order <= began_at]
    if not before:
        return "began before any order"
    return f"began {(began_at - before[-1]) * 1000:.0f} ms after order {len(before)}"
