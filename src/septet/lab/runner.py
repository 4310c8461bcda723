"""One cell: start a fresh server, wait until it answers, load it, watch what it uses, stop it.

Whatever happens the outcome is a record, and no process is left. A cell that failed says why; the others go on.
"""

from __future__ import annotations

import datetime
import os
import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from septet.errors import Failed
from septet.lab import client, machine
from septet.lab.client import Hear
from septet.lab.experiment import Cell, Experiment
from septet.lab.load import Plan
from septet.lab.sampler import Sampler
from septet.lab.server import Server, free_port

ERROR_SHARE_MAX = 0.001  # of all requests; more, and the cell's figures are not those of a healthy server


def run_cell(experiment: Experiment, cell: Cell, hear: Hear) -> dict[str, Any]:
    """Measure one cell; returns its record for results.json. `hear` is told how the load goes on."""
    port = free_port()
    plan = plan_for(experiment, cell, port)
    record: dict[str, Any] = {
        **asdict(cell),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": experiment.command(cell, port),
        "load_command": client.command(plan),
        "load_average_before": machine.load_average(),
    }
    with tempfile.TemporaryDirectory(prefix="cell-", dir=experiment.out) as scratch:
        environment = experiment.environment(Path(scratch))
        record["environment"] = _inherited() | environment
        try:
            with Server(record["command"], environment, experiment.stop_timeout_s) as server:
                server.await_answer(plan.url, experiment.start_timeout_s)
                record["load"], record["usage"] = _load(plan, server, hear)
                server.check_alive()
                record["stop"] = server.stop()
        except Failed as failure:
            record["failure"] = str(failure)
    record["load_average_after"] = machine.load_average()
    record["verdict"], record["reason"] = judge(record)
    return record


def plan_for(experiment: Experiment, cell: Cell, port: int) -> Plan:
    """What the load generator shall do in a cell."""
    return Plan(
        url=experiment.url(port),
        users=cell.users,
        duration_s=experiment.duration_s,
        warmup_s=experiment.warmup_s,
        mode=experiment.mode,
        timeout_s=experiment.timeout_s,
        expect_length=experiment.expect_length,
    )


def judge(record: dict[str, Any]) -> tuple[str, str | None]:
    """The verdict on a cell, and why.

    "valid"; "errors" and "unserved", whose figures are of the requests or users that fared better than others;
    "failed", which has no figures.
    """
    if "failure" in record:
        return "failed", record["failure"]
    load = record["load"]
    errors = sum(load["errors"].values())
    kinds = ", ".join(f"{count:,} x {kind}" for kind, count in sorted(load["errors"].items()))
    if not load["answers"]:
        waited = f"{load['unanswered']:,} users still waited after {load['longest_unanswered_us'] / 1e6:.1f} s"
        return "failed", f"no request was answered: {kinds or waited}"
    if errors > ERROR_SHARE_MAX * (errors + load["answers"]):
        return "errors", f"{errors:,} of {errors + load['answers']:,} requests failed: {kinds}"
    if load["users_never_answered"]:
        return "unserved", f"{load['users_never_answered']:,} users had no answer by the end"
    return "valid", None


def _load(plan: Plan, server: Server, hear: Hear) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures of the load generator, and what the server used while they were taken."""
    sampler = Sampler(server.session)
    usage: dict[str, Any] = {}

    def heard(event: str, details: dict[str, Any]) -> None:
        if event == "measuring":
            sampler.start()
        elif event == "measured":
            usage.update(asdict(sampler.stop()))
        hear(event, details)

    figures = client.load(plan, heard)
    server.before_stop()
    return figures, usage


def _inherited() -> dict[str, str]:
    """The variables of our own environment that change what the server does; passwords in URLs are blanked."""
    return {
        name: re.sub(r"://[^@/]*@", "://***@", value)
        for name, value in os.environ.items()
        if name.startswith(("SEPTET_", "GUESTBOOK_", "PYTHON"))
    }
