"""Runs the cells of a round, each a server or process model at one number of users: starts a server for each, visits
(loads and measures) it once or in turns, and stops it.

Servers that are compared run at the same time, and all are idle but the one that is visited: starting a server takes
longer than a visit, and the machine changes little between two turns of a third of a second. Each visit gives a record
in any case, and no process is left. The record of a failed visit says why; the others go on.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from septet.errors import Failed
from septet.lab import client, machine, output, proc
from septet.lab.client import Load, LoadLost, Receive
from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.load import LoadError, Plan, read_scenario
from septet.lab.probe import Probe
from septet.lab.sampler import Sampler, nothing, queue_of
from septet.lab.server import Server, free_port
from septet.lab.threads.gil import GilWatch
from septet.lab.verdicts import judge

QUIET_LOOK_S = 0.01
QUIET_CPU_S = 0.0002
"""If a server uses more than this many seconds of CPU time within QUIET_LOOK_S after a visit (a run of load), it still
works on requests of users who have gone, and is not idle yet.
"""
QUIET_MAX_S = 0.3
"""A server that is not idle this many seconds after a visit (a run of load) is replaced, because it would disturb the
visits of other servers.
"""
LONGER = 4.0
"""If no request was answered in the measured window of a visit (a run of load), the visit is made once more, with a
window this many times as long.
"""
AGAIN_WARMUP_S, SHORT_WARMUP_S = 0.1, 0.03
"""Seconds of warm-up before a run of load on a server that was loaded before, the second one before a short window.
They are short, because the server is warm already.
"""
SHORT_ANSWERS_MIN = 10
"""If users have fewer answers than this on average in a short window (`Experiment.short`), the server is slow: the
visit is made again with the whole window, which all further visits to it have, too.
"""


def run_cell(
    experiment: Experiment, run: Run, receive: Receive, load: Load = client.load, probe: Probe | None = None
) -> dict[str, Any]:
    """Measure one cell (a server or process model at one number of users) once, with a server that is started for this
    run, and return the record for results.json. `receive` is called with the events of the load generator.

    Raises LoadLost if a cluster sends the load, and one of its workers is lost: then the run says nothing about the
    server.
    """
    with Round(experiment, load, probe) as visits:
        visits.visit(run, receive)
        return visits.finish()[0]


@dataclass(slots=True)
class _Visited:
    """A running server, and the records of the visits to it (a visit is one run of load)."""

    server: Server
    port: int
    gil: GilWatch
    started: dict[str, Any]
    """What is known of the server from its start, such as its command: it is part of the record of every run of load on
    this server.
    """
    stack: ExitStack
    is_slow: bool = False
    """True if its windows are never short ones (`Experiment.short`)."""
    records: list[dict[str, Any]] = field(default_factory=list)


class Round:
    """The servers that are measured in one round of an experiment, and the records of the visits to them (a visit is
    one run of load). Context manager: on leaving, all servers are stopped.
    """

    def __init__(self, experiment: Experiment, load: Load = client.load, probe: Probe | None = None) -> None:
        self._experiment = experiment
        self._load = load
        self._probe = probe
        self._visited: dict[Cell, _Visited] = {}
        self._failed: set[Cell] = set()
        self._records: list[dict[str, Any]] = []

    def __enter__(self) -> Round:
        return self

    def __exit__(self, *_: object) -> None:
        for visited in self._visited.values():
            visited.stack.close()

    def visit(self, run: Run, receive: Receive) -> dict[str, Any] | None:
        """Load the server of the run's cell (a server or process model at one number of users), after starting it if it
        does not run, and return the record. None if an earlier visit to this cell has failed in this round: it is left
        out then.

        `finish` adds to the record how the server was stopped. Raises LoadLost if a cluster sends the load, and one of
        its workers is lost.
        """
        if run.cell in self._failed:
            return None
        record = self._begun(run)
        self._records.append(record)
        try:
            visited = self._server(run, record)
            record |= visited.started
            visited.records.append(record)
            plan = self._plan(run, visited)
            self._load_once(visited, plan, record, receive)
            if plan.duration_s == self._experiment.short_s(plan.users) and _is_slow(record["load"], plan):
                visited.is_slow = True
                plan = self._plan(run, visited)
                self._load_once(visited, plan, record, receive)
            if _nothing_came(record["load"]):  # on a busy machine a short window may be no time at all
                self._load_once(visited, replace(plan, duration_s=LONGER * plan.duration_s), record, receive)
            visited.server.check_alive()
        except (LoadLost, KeyboardInterrupt):
            self._forget(record)
            raise
        except Failed as failure:
            record["failure"] = str(failure)
            self._failed.add(run.cell)
            self._stop(run.cell)
        record["load_average_after"] = machine.load_average()
        record["verdict"], record["reason"] = judge(record, os.cpu_count() or 1)
        return record

    def _load_once(self, visited: _Visited, plan: Plan, record: dict[str, Any], receive: Receive) -> None:
        record["load_command"] = client.shell_command(plan, self._experiment.scenario, self._experiment.cluster)
        record["load"], record["usage"] = load_and_sample(
            plan, self._experiment, visited.server, visited.port, receive, self._load, self._probe, visited.gil
        )

    def _forget(self, record: dict[str, Any]) -> None:
        self._records.remove(record)
        for visited in self._visited.values():
            if record in visited.records:
                visited.records.remove(record)

    def go_on(self, cell: Cell) -> None:
        """Called between loading the server of `cell` and loading another server. Waits until the first one is idle; if
        it does not become idle, it is stopped, and a new one is started for the next run of its cell.
        """
        visited = self._visited.get(cell)
        if visited is not None and not self._rests(visited):
            self._stop(cell)

    def _rests(self, visited: _Visited) -> bool:
        """True if the visited server becomes idle within QUIET_MAX_S: it uses hardly any CPU time, and no connection
        waits in its listen queue.
        """
        deadline = time.monotonic() + QUIET_MAX_S
        before_s = _cpu_s(visited.server.session)
        while time.monotonic() < deadline:
            time.sleep(QUIET_LOOK_S)
            now_s = _cpu_s(visited.server.session)
            waiting = queue_of(self._experiment.host, visited.port)
            if now_s - before_s < QUIET_CPU_S and not (waiting and waiting.depth):
                return True
            before_s = now_s
        return False

    def finish(self) -> list[dict[str, Any]]:
        """Stop the servers that still run, and return the records of all visits (runs of load) of this round."""
        for cell in list(self._visited):
            self._stop(cell)
        return self._records

    def _begun(self, run: Run) -> dict[str, Any]:
        return {
            "model": run.cell.model,
            "users": run.cell.users,
            "setting": dict(run.cell.setting),
            "repeat": run.repeat,
            "started": output.now(),
            "command": None,
            "load_command": None,
            "load_average_before": machine.load_average(),
        }

    def _server(self, run: Run, record: dict[str, Any]) -> _Visited:
        """Return the running server of the run's cell (a server or process model at one number of users), which is
        started if it does not run yet. Its command and environment are added to `record`. Raises Failed if it cannot be
        started.
        """
        if run.cell in self._visited:
            return self._visited[run.cell]
        port, stack = free_port(self._experiment.host), ExitStack()
        about = {"command": self._experiment.command(run.cell, port)}
        with stack:
            try:
                server = stack.enter_context(started(self._experiment, run, port, about))
            finally:
                record |= about
            cpus = len(self._experiment.pinned.server) or len(os.sched_getaffinity(0))
            gil = GilWatch(server.session, port, cpus, self._experiment.has_gil(run.cell))
            stack.callback(gil.close)
            self._visited[run.cell] = _Visited(server, port, gil, about, stack.pop_all())
        return self._visited[run.cell]

    def _plan(self, run: Run, visited: _Visited) -> Plan:
        plan = plan_for(self._experiment, run.cell.users, visited.port)
        again_s, short_s = AGAIN_WARMUP_S, self._experiment.short_s(run.cell.users)
        if short_s is not None and not visited.is_slow:
            plan, again_s = replace(plan, duration_s=short_s), SHORT_WARMUP_S
        is_first = len(visited.records) == 1  # the record of this visit is there already
        if is_first or plan.warmup_s < again_s:
            return plan
        return replace(plan, warmup_s=again_s, warmup_max_s=0.0)

    def _stop(self, cell: Cell) -> None:
        """Stop the server of a cell (a server or process model at one number of users), if it runs. How it ended is
        added to the records of all its visits (runs of load).
        """
        visited = self._visited.pop(cell, None)
        if visited is None:
            return
        with visited.stack:
            measured = [record for record in visited.records if "load" in record]
            if not measured:
                return
            visited.server.before_stop()
            answers = sum(each["load"]["answers"] + each["load"]["warmup"]["answers"] for each in measured)
            stop = {**visited.server.stop(), "answers": answers}
            for record in measured:
                record["stop"] = stop


def _is_slow(load: dict[str, Any], plan: Plan) -> bool:
    """True if users had so few answers in a short window that their times say little."""
    return bool(load["answers"] < SHORT_ANSWERS_MIN * plan.users)


def _nothing_came(load: dict[str, Any]) -> bool:
    """True if in the run with the figures `load` no request was answered, and none failed either."""
    return not load["answers"] and not load["errors"]


def _cpu_s(session: int) -> float:
    return sum(process.cpu_s for process in proc.processes_of(session))


@contextmanager
def started(experiment: Experiment, run: Run, port: int, record: dict[str, Any]) -> Iterator[Server]:
    """Context manager: start the server of a run, and yield it once it answers. The environment variables that it gets
    are added to `record`.

    Raises Failed if the server ends, or does not answer in time.
    """
    with tempfile.TemporaryDirectory(prefix="cell-", dir=experiment.out) as scratch:
        environment = experiment.environment(Path(scratch), run.cell)
        record["environment"] = _inherited() | environment
        command, cpus = experiment.command(run.cell, port), experiment.pinned.server
        with Server(command, environment, experiment.stop_timeout_s, cpus) as server:
            server.await_answer(experiment.url(port), experiment.start_timeout_s)
            yield server


def plan_for(experiment: Experiment, users: int, port: int) -> Plan:
    """Return the plan of the load generator for this many users and a server on this port."""
    return Plan(
        url=experiment.url(port),
        users=users,
        duration_s=experiment.window_s(users),
        warmup_s=experiment.warmup_s,
        warmup_max_s=experiment.warmup_max_s,
        mode=experiment.mode,
        streams=experiment.streams,
        timeout_s=experiment.timeout_s,
        expect_length=experiment.expect_length,
        cpus=experiment.pinned.client[: -(-users // max(1, experiment.streams))],
        insecure=experiment.tls,  # what is measured is not who signed
        overflow=True,  # overflows are counted and shown
        **_targets(experiment.scenario),
    )


def _targets(scenario: Path | None) -> dict[str, Any]:
    try:
        return {} if scenario is None else read_scenario(scenario)
    except LoadError as error:
        raise Failed(f"--scenario: {error}") from None


def load_and_sample(
    plan: Plan,
    experiment: Experiment,
    server: Server,
    port: int,
    receive: Receive,
    load: Load = client.load,
    probe: Probe | None = None,
    gil: GilWatch | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load the server, and sample meanwhile what it uses. Returns the figures of the load generator, and the usage: CPU
    time, memory and the like, by metric. Raises Failed if the load generator gives no figures.

    `gil`: counts waits for the GIL over all visits of one server (a visit is one run of load), because one short visit
    has too few samples.
    """
    look = gil.look if gil is not None else nothing
    sampler = Sampler(server.session, port, look, experiment.host, experiment.pinned)
    usage: dict[str, Any] = {}
    begun_ns = 0

    def received(event: str, details: dict[str, Any]) -> None:
        nonlocal begun_ns
        if event == "measuring":
            begun_ns = time.monotonic_ns()
            sampler.start()
        elif event == "measured":
            usage.update(sampler.stop())
            if gil is not None:
                usage.update(gil_share=gil.share(), cpus_wanted=gil.cpus_wanted())
            if probe is not None:
                usage.update(probe.usage(begun_ns, time.monotonic_ns()))
        receive(event, details)

    return load(plan, received, experiment.scenario), usage


def _inherited() -> dict[str, str]:
    """Return those of this process's environment variables that change what the server does; passwords in URLs are
    replaced by ***.
    """
    return {
        name: re.sub(r"://[^@/]*@", "://***@", value)
        for name, value in os.environ.items()
        if name.startswith(("SEPTET_", "GUESTBOOK_", "PYTHON"))
    }
