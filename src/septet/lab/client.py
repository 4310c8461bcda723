"""Runs the load generator in a process of its own, so that display and sampling do not slow it down.

`load` starts one for a single run. `Generator` keeps one for many short runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from septet.errors import Failed
from septet.lab.load import ANY_LENGTH, Plan

Receive = Callable[[str, dict[str, Any]], None]
"""Called with the name and the details of each event of the load generator."""
Load = Callable[[Plan, Receive, Path | None], dict[str, Any]]
"""A function that carries out a plan and returns its figures: `load` below, or `Cluster.load_cell`."""


class LoadLost(Failed):
    """A worker of the cluster that sends the load was lost: the run says nothing about the server; repeat it."""


GRACE_S = 60.0
"""The load generator is killed if it takes this many seconds longer than its plan says. That is a long time, because
opening and closing thousands of connections is slow.
"""


def shell_command(plan: Plan, scenario: Path | None, cluster: str | None) -> list[str]:
    """Return the command that repeats the load by hand, for results.json; `cluster` is the value of --cluster."""
    if cluster is None:
        return command(plan, scenario)
    words = command(replace(plan, expect_length=None), scenario)
    words[2:3] = ["septet", "load"]
    mode = words.index("--mode")
    words[mode : mode + 2] = [f"--{plan.mode}", *(["--http2"] if plan.streams else [])]
    if plan.expect_length is not None:
        words += ["--expect-length", "any" if plan.expect_length == ANY_LENGTH else str(plan.expect_length)]
    return [*words, "--cluster", cluster]


def command(plan: Plan, scenario: Path | None = None) -> list[str]:
    """Return the command that starts the generator in a process on this machine."""
    words = [sys.executable, "-m", "septet.lab.load", plan.url, "--users", str(plan.users), "--mode", plan.mode]
    times = {"warmup": plan.warmup_s, "duration": plan.duration_s, "timeout": plan.timeout_s}
    for name, seconds in times.items():
        words += [f"--{name}", f"{seconds:g}"]
    if plan.warmup_max_s:
        words += ["--warmup-max", f"{plan.warmup_max_s:g}"]
    if plan.arrival_max_s != Plan.arrival_max_s:
        words += ["--arrival-max", f"{plan.arrival_max_s:g}"]
    if plan.streams:
        words += ["--streams", str(plan.streams)]
    if plan.rate is not None:
        words += ["--rate", f"{plan.rate:g}"]
    if plan.expect_length is not None:
        words += ["--expect-length", str(plan.expect_length)]
    if plan.visits:
        words += ["--visits", str(plan.visits)]
    if plan.cpus:
        words += ["--cpus", ",".join(map(str, plan.cpus))]
    if plan.overflow:
        words.append("--overflow")
    if plan.insecure:
        words.append("--insecure")
    return [*words, *(["--scenario", str(scenario)] if scenario else [])]


def load(plan: Plan, receive: Receive, scenario: Path | None = None) -> dict[str, Any]:
    """Carry out the plan in a process of its own and return the figures. `receive`: called with its events. `scenario`:
    a file with the plan's targets. Raises Failed when there are no figures.
    """
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            command(plan, scenario), stdout=subprocess.PIPE, stderr=complaints, text=True, start_new_session=True
        ) as process,
    ):
        try:
            with _limit(plan, process):
                return _listen(process, receive, complaints)
        finally:
            process.kill()


@contextmanager
def _limit(plan: Plan, process: subprocess.Popen[str]) -> Iterator[None]:
    """Context manager: kill the generator's process if it takes GRACE_S seconds longer than its plan says, as it does
    when it is suspended (SIGSTOP) or gets no CPU.
    """
    longest_s = max(plan.warmup_s, plan.warmup_max_s) + plan.duration_s + plan.timeout_s + GRACE_S
    timer = threading.Timer(longest_s, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Generator:
    """One process of the load generator that carries out plan after plan. A context manager: it ends on leaving."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._process: subprocess.Popen[str] | None = None
        self._complaints: Any = None

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *_: object) -> None:
        self._process = None
        self._stack.close()

    def load(self, plan: Plan, receive: Receive, scenario: Path | None = None) -> dict[str, Any]:
        """Carry out a plan in this process and return the figures; `receive` is called with the events. The plan has
        its targets already, so `scenario` is not used. Raises Failed when there are no figures; the next plan then gets
        a new process.
        """
        process = self._running()
        assert process.stdin is not None, "it was started with a pipe"
        try:
            with _limit(plan, process):
                process.stdin.write(json.dumps(plan.values()) + "\n")
                process.stdin.flush()
                return _listen(process, receive, self._complaints)
        except BrokenPipeError:
            self._end()
            raise Failed("the load generator has ended") from None
        except BaseException:
            self._end()
            raise

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._complaints = self._stack.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115
            self._process = self._stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "septet.lab.load", "--plans"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._complaints,
                    text=True,
                    start_new_session=True,
                )
            )
            self._stack.callback(self._process.kill)
        return self._process

    def _end(self) -> None:
        self._process = None
        self._stack.close()


def _listen(process: subprocess.Popen[str], receive: Receive, complaints: Any) -> dict[str, Any]:
    assert process.stdout is not None, "it was started with a pipe"
    for line in process.stdout:
        details = json.loads(line)
        match details.pop("event"):
            case "figures":
                figures: dict[str, Any] = details
                return figures
            case "refused":
                raise Failed(details["reason"])
            case event:
                receive(event, details)
    status = process.wait()
    complaints.seek(0)
    said = complaints.read().strip().splitlines()[-1:]
    raise Failed(f"the load generator ended with status {status} and no figures{': ' + said[0] if said else ''}")
