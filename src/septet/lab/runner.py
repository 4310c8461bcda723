"""One run of a cell: start a fresh server, wait until it answers, load it, sample what it uses, stop it.

The outcome is a record in any case, and no process is left. The record of a run that failed says why.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from septet.errors import Failed
from septet.lab import client, machine, output
from septet.lab.client import Load, LoadLost, Receive
from septet.lab.experiment import Experiment, Run
from septet.lab.load import LoadError, Plan, read_scenario
from septet.lab.sampler import Sampler
from septet.lab.server import Server, free_port
from septet.lab.threads.gil import GilWatch
from septet.lab.verdicts import judge


def run_cell(experiment: Experiment, run: Run, receive: Receive, load: Load = client.load) -> dict[str, Any]:
    """Measure once; returns the record for results.json. `receive` is called with the events of the load.

    Raises LoadLost when a worker of the cluster is lost, because then the run says nothing about the server.
    """
    cell, port = run.cell, free_port(experiment.host)
    plan = plan_for(experiment, cell.users, port)
    record: dict[str, Any] = {
        "model": cell.model,
        "users": cell.users,
        "setting": dict(cell.setting),
        "repeat": run.repeat,
        "started": output.now(),
        "command": experiment.command(cell, port),
        "load_command": client.shell_command(plan, experiment.scenario, experiment.cluster),
        "load_average_before": machine.load_average(),
    }
    try:
        with started(experiment, run, port, record) as server:
            record["load"], record["usage"] = load_and_sample(plan, experiment, server, port, receive, load)
            server.check_alive()
            record["stop"] = server.stop()
    except LoadLost:
        raise
    except Failed as failure:
        record["failure"] = str(failure)
    record["load_average_after"] = machine.load_average()
    record["verdict"], record["reason"] = judge(record, os.cpu_count() or 1)
    return record


@contextmanager
def started(experiment: Experiment, run: Run, port: int, record: dict[str, Any]) -> Iterator[Server]:
    """Start the server of a run, and yield it once it answers; its environment is added to the record.

    Raises Failed when it ends or does not answer in time.
    """
    with tempfile.TemporaryDirectory(prefix="cell-", dir=experiment.out) as scratch:
        environment = experiment.environment(Path(scratch), run.cell)
        record["environment"] = _inherited() | environment
        command, cpus = experiment.command(run.cell, port), experiment.pinned.server
        with Server(command, environment, experiment.stop_timeout_s, cpus) as server:
            server.await_answer(experiment.url(port), experiment.start_timeout_s)
            yield server


def plan_for(experiment: Experiment, users: int, port: int) -> Plan:
    """Return the plan of the load generator for a cell with so many users and a server on this port."""
    return Plan(
        url=experiment.url(port),
        users=users,
        duration_s=experiment.duration_s,
        warmup_s=experiment.warmup_s,
        warmup_max_s=experiment.warmup_max_s,
        mode=experiment.mode,
        timeout_s=experiment.timeout_s,
        expect_length=experiment.expect_length,
        cpus=experiment.pinned.client[:users],
        overflow=True,  # overflows are counted and shown
        **_targets(experiment.scenario),
    )


def _targets(scenario: Path | None) -> dict[str, Any]:
    try:
        return {} if scenario is None else read_scenario(scenario)
    except LoadError as error:
        raise Failed(f"--scenario: {error}") from None


def load_and_sample(
    plan: Plan, experiment: Experiment, server: Server, port: int, receive: Receive, load: Load = client.load
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load the server and sample it; returns `load` and `usage` of the record. Raises Failed without figures."""
    gil = GilWatch(server.session, port)
    sampler = Sampler(server.session, port, gil.look, experiment.host)
    usage: dict[str, Any] = {}

    def received(event: str, details: dict[str, Any]) -> None:
        if event == "measuring":
            sampler.start()
        elif event == "measured":
            usage.update(sampler.stop(), gil_share=gil.share())
        receive(event, details)

    try:
        figures = load(plan, received, experiment.scenario)
    finally:
        gil.close()
    server.before_stop()
    return figures, usage


def _inherited() -> dict[str, str]:
    """Variables of our environment that change what the server does; passwords in URLs are blanked."""
    return {
        name: re.sub(r"://[^@/]*@", "://***@", value)
        for name, value in os.environ.items()
        if name.startswith(("SEPTET_", "GUESTBOOK_", "PYTHON"))
    }
