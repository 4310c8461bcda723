"""Load from hosts that are not ours: workers in two network namespaces, and a server that they reach over a cable."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from septet.errors import Failed
from septet.lab.applications import application
from septet.lab.cluster import opened
from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.load import Plan
from septet.lab.pinning import Pinning
from septet.lab.runner import run_cell
from support.namespaces import Host, hosts
from support.scripted_server import ScriptedServer, keep_answering
from support.waiting import PATIENCE_S, wait_until


def ignore(event: str, details: dict[str, Any]) -> None:
    """Nobody looks at the progress."""


@contextmanager
def worker(host: Host, scheduler: str) -> Iterator[None]:
    """A worker on that host, as its administrator would start one."""
    words = ["-m", "distributed.cli.dask_worker", scheduler, "--name", host.name, "--nthreads", "1", "--no-dashboard"]
    process = subprocess.Popen(host.command(sys.executable, *words), stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()


def test_a_cell_from_two_hosts(tmp_path: Path) -> None:
    with ExitStack() as stack:
        anna, berta = stack.enter_context(hosts(2))
        quiet = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
        dask = stack.enter_context(LocalCluster(n_workers=0, host=anna.gateway, **quiet))
        for host in (anna, berta):
            stack.enter_context(worker(host, dask.scheduler_address))
        wait_until(lambda: len(dask.scheduler.workers) == 2, "both workers are there", 60)

        with opened(dask.scheduler_address) as cluster, ScriptedServer(keep_answering) as server:
            with pytest.raises(Failed, match=f"is another machine for worker {anna.name}: "):
                cluster.load(Plan(server.url), ignore)
            assert server.connections == 0

            experiment = Experiment(
                tmp_path,
                ("epoll",),
                app_words=(application("hello").words),
                path="/",
                mode="keep-alive",
                duration_s=0.5,
                cluster=cluster.text,
                pinned=Pinning(),
            )
            refused = run_cell(experiment, Run(Cell("epoll", 40)), ignore, cluster.load_cell)
            assert refused["verdict"] == "failed"
            reached = replace(experiment, host=anna.gateway)
            run = run_cell(reached, Run(Cell("epoll", 40)), ignore, cluster.load_cell)

        assert run["verdict"] != "failed", run["reason"]
        assert run["load"]["plan"]["url"].startswith(f"http://{anna.gateway}:")
        assert run["load"]["errors"] == {}
        parts = run["load"]["client"]["workers"]
        assert [part["worker"] for part in parts] == [anna.name, berta.name]
        assert all(part["answers"] > 0 for part in parts)
        assert all(abs(part["clock_ahead_us"]) <= part["clock_uncertainty_us"] + 1 for part in parts)
        assert run["usage"]["queue_backlog"] > 0  # our own kernel tells of our own listener
