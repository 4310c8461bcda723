"""Load from a cluster of Dask's: real workers, real clocks, one server on a real socket."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from septet.errors import Failed
from septet.lab.cluster import opened
from septet.lab.cluster.cluster import Cluster
from septet.lab.load import LoadError, NoListener, Plan
from septet.lab.verdicts import judge
from support.processes import Process, children, tree
from support.scripted_server import Connection, ScriptedServer, keep_answering
from support.waiting import wait_until

START_S = 60.0  # for two Pythons with Dask, on a busy machine
FAR_APART_US = 1_000_000  # the lead of the common start: later than this is no common start


@pytest.fixture(scope="module")
def dask() -> Iterator[LocalCluster]:
    quiet = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", **quiet) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster(dask: LocalCluster) -> Iterator[Cluster]:
    with opened(dask.scheduler_address) as found:
        yield found


def load(cluster: Cluster, url: str, hear: Any = lambda event, details: None, **changes: Any) -> dict[str, Any]:
    return cluster.load(Plan(**{"url": url, "users": 5, "duration_s": 0.5, "warmup_s": 0.2, **changes}), hear)


def septet(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "septet", *words],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **(environment or {})},
    )


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """The command, until the test is over."""
    command = [sys.executable, "-m", "septet", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def followers(pid: int) -> list[Process]:
    """The load processes below `pid`."""
    return [each for each in tree(pid) if "--worker-process" in words_of(each)]


def words_of(process: Process) -> list[str]:
    """Its command line; no words when it has ended."""
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def is_finished(results: Path) -> bool:
    """Whether an experiment has run all its cells; its file is replaced whole."""
    return results.exists() and json.loads(results.read_text())["finished"] is not None


def test_each_worker_has_its_share(cluster: Cluster) -> None:
    heard = []
    with ScriptedServer(keep_answering) as server:
        figures = load(cluster, f"{server.url}?{{user}}", lambda event, details: heard.append(event))
        users = {head.rpartition(b"?")[2].split()[0] for head, _ in server.messages}
    assert users == {b"0", b"1", b"2", b"3", b"4"}
    parts = figures["client"]["workers"]
    assert [part["users"] for part in parts] == [3, 2]
    assert sum(part["answers"] for part in parts) == figures["answers"] == sum(figures["histogram_us"].values())
    assert all(part["answers"] > 0 for part in parts)
    assert figures["errors"] == {}
    assert not figures["interrupted"]
    assert [event for event in heard if event != "progress"] == ["came", "measuring", "measured"]
    assert figures["client"]["here_s"] == pytest.approx(figures["client"]["user_s"] + figures["client"]["system_s"])


def test_workers_of_one_machine_have_one_clock(cluster: Cluster) -> None:
    """What is measured over the network is known here: the offset is none."""
    with ScriptedServer(keep_answering) as server:
        figures = load(cluster, server.url)
    for part in figures["client"]["workers"]:
        assert abs(part["clock_ahead_us"]) <= part["clock_uncertainty_us"] + 1
        assert part["clock_uncertainty_us"] < 50_000
        assert 0 <= part["began_late_us"] < FAR_APART_US


def test_workers_share_a_rate(cluster: Cluster) -> None:
    with ScriptedServer(keep_answering) as server:
        figures = load(cluster, server.url, rate=200.0)
    assert figures["due"] == pytest.approx(100, abs=2)
    assert figures["answers"] == figures["due"]


def test_processes_on_each_cpu_of_each_worker(cluster: Cluster) -> None:
    cpus = tuple(sorted(os.sched_getaffinity(0)))[:2]
    with ScriptedServer(keep_answering) as server:
        figures = load(cluster, server.url, users=4, cpus=cpus)
    assert figures["client"]["processes"] == 2 * len(cpus)
    assert [part["processes"] for part in figures["client"]["workers"]] == [len(cpus)] * 2


def test_one_worker_at_its_limit_spoils_the_run(cluster: Cluster, dask: LocalCluster) -> None:
    """It is stopped for a while: what was due then, and had a free user, is sent late: two or three of some 100."""
    stopped = []

    def hear(event: str, details: dict[str, Any]) -> None:
        if event == "measuring":
            (victim,) = followers(dask.workers[0].pid)
            os.kill(victim.pid, signal.SIGSTOP)
            threading.Timer(1.0, os.kill, (victim.pid, signal.SIGCONT)).start()
            stopped.append(victim)

    with ScriptedServer(keep_answering) as server:
        figures = load(cluster, server.url, hear, rate=60.0, duration_s=3.0)
    assert stopped
    assert max(part["send_late_us"] for part in figures["client"]["workers"]) > 100_000
    usage = {"user_s": 0.0, "system_s": 0.0, "machine_busy_s": 0.0, "machine_steal_s": 0.0}
    verdict, reason = judge({"load": figures, "usage": usage}, 2)
    assert verdict == "client-limited"
    assert re.fullmatch(r"worker \S+ sent requests more than 1 ms too late", reason or "")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"users": 1}, "1 users cannot be spread over 2 processes"),
        ({"cpus": (4000,)}, r"worker 127\.0\.0\.1:\d+: CPU 4000 is not usable here"),
    ],
)
def test_what_a_worker_cannot_do(cluster: Cluster, changes: dict[str, Any], reason: str) -> None:
    with ScriptedServer(keep_answering) as server:
        with pytest.raises(LoadError, match=reason):
            load(cluster, server.url, **changes)
        assert server.requests == 0


def test_nobody_listens(cluster: Cluster) -> None:
    url = "http://127.0.0.1:1/"
    with pytest.raises(NoListener, match=r"worker 127\S+: nothing listens at"):
        load(cluster, url)
    with pytest.raises(Failed, match=rf"worker 127\S+ does not reach {url} \(Connection refused\): "):
        cluster.check_reach(url)


def test_ctrl_c_ends_the_load(dask: LocalCluster) -> None:
    words = ["--users", "4", "--duration", "100", "--json", "--cluster", dask.scheduler_address]
    with ScriptedServer(keep_answering) as server, started("load", server.url, *words) as coordinator:
        wait_until(lambda: server.requests > 100, "there is load", START_S)
        coordinator.send_signal(signal.SIGINT)
        said, complaint = coordinator.communicate(timeout=START_S)
    assert coordinator.returncode == 0, complaint
    figures = json.loads(said)
    assert figures["interrupted"]
    assert figures["answers"] > 0
    assert not any(followers(worker.pid) for worker in dask.workers.values())


def test_a_leader_that_is_killed_leaves_no_load_for_long(dask: LocalCluster) -> None:
    words = ["--users", "4", "--duration", "100", "--cluster", dask.scheduler_address]
    with ScriptedServer(keep_answering) as server, started("load", server.url, *words) as coordinator:
        wait_until(lambda: server.requests > 100, "there is load", START_S)
        coordinator.kill()
        wait_until(lambda: not any(followers(worker.pid) for worker in dask.workers.values()), "it ends", START_S)


def test_a_worker_that_dies_fails_the_run() -> None:
    """Never fewer users than were asked for: there are no figures."""
    words = ["--users", "4", "--duration", "100", "--cluster", "local:2"]
    with ScriptedServer(keep_answering) as server, started("load", server.url, *words) as coordinator:
        wait_until(lambda: server.requests > 100, "there is load", START_S)
        everybody = tree(coordinator.pid)
        (victim,) = (each for each in children(coordinator.pid) if "local-2" in words_of(each))
        os.kill(victim.pid, signal.SIGKILL)
        said, complaint = coordinator.communicate(timeout=START_S)
    assert (coordinator.returncode, said) == (1, "")
    assert complaint == "septet: worker local-2 was lost\n"
    wait_until(lambda: not any(each.running for each in everybody), "all processes have ended")


def test_bench(dask: LocalCluster, tmp_path: Path) -> None:
    """One cell that the cluster carries out, and one that it cannot: that has failed, with its reason."""
    words = ["--models", "epoll", "--users", "1,4", "--repeats", "1", "--duration", "0.3", "--warmup", "0.1"]
    path = tmp_path / "out" / "results.json"
    words += ["--cluster", dask.scheduler_address, "--out", str(path.parent)]
    with started("bench", "hello", *words) as bench:  # and end it then: the pictures are another test's
        wait_until(lambda: bench.poll() is not None or is_finished(path), "all cells have been run", 100)
    recorded = json.loads(path.read_text())
    assert recorded["experiment"]["cluster"] == dask.scheduler_address
    assert len(recorded["workers"]) == 2
    assert all(worker["here"] and worker["machine"]["cpus"] for worker in recorded["workers"].values())
    failed, run = recorded["runs"]
    assert (failed["verdict"], failed["reason"]) == ("failed", "1 users cannot be spread over 2 processes")
    assert run["verdict"] != "failed", run["reason"]
    assert run["load_command"][1:4] == ["-m", "septet", "load"]
    assert run["load_command"][-2:] == ["--cluster", dask.scheduler_address]
    assert [part["users"] for part in run["load"]["client"]["workers"]] == [2, 2]
    assert run["load"]["errors"] == {}
    assert run["usage"]["samples"] > 0


def test_dask_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "distributed.py").write_text("raise ImportError('no such thing')\n")
    words = ["load", "http://127.0.0.1:1/", "--cluster", "local:2"]
    result = septet(*words, environment={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 2
    assert result.stderr == "septet: --cluster needs Dask distributed: pip install 'septet[cluster]'\n"


def test_there_is_no_scheduler() -> None:
    result = septet("load", "http://127.0.0.1:1/", "--cluster", "tcp://127.0.0.1:1")
    assert result.returncode == 1
    assert result.stderr.startswith("septet: --cluster: no Dask scheduler answers at tcp://127.0.0.1:1 (")
    assert len(result.stderr.splitlines()) == 1


def test_a_host_that_ssh_does_not_reach(tmp_path: Path) -> None:
    """What ssh said is in the sentence."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\necho "ssh: Could not resolve hostname nowhere" >&2\nexit 255\n')
    ssh.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = septet("load", "http://10.0.0.1/", "--cluster", "ssh:nowhere", environment=path)
    assert result.returncode == 1
    words = "the worker on nowhere ended with status 255: ssh: Could not resolve hostname nowhere"
    assert result.stderr == f"septet: --cluster: {words}\n"


def test_a_server_that_stops_listening(cluster: Cluster) -> None:
    """Errors of the workers are added up."""

    def once(connection: Connection) -> None:
        connection.request()
        connection.reset()

    with ScriptedServer(once) as server:
        figures = load(cluster, server.url, mode="close")
    assert figures["answers"] == 0
    assert sum(figures["errors"].values()) == sum(part["errors"] for part in figures["client"]["workers"]) > 0
