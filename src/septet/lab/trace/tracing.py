"""Traces one model: starts the server and the users, records the threads, and joins the records of all three."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septet.errors import Failed
from septet.lab.experiment import GUESTBOOK, STORE
from septet.lab.interrupts import time_limit
from septet.lab.server import Server, free_port
from septet.lab.trace.recorder import Recorder, Recording
from septet.lab.trace.requests import Request, Visit, join, read_spans

ASYNCHRONOUS_GUESTBOOK = "septet.examples.guestbook:asgi"
_GUESTBOOKS = "septet.examples.guestbook:"
LOOPS = ("poll", "epoll", "io_uring")  # where the asynchronous guestbook shows what these models are for

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0
_VISITORS_GRACE_S = 15.0
_LIMIT_S = 90.0
"""Longest time for one model in seconds, in addition to its warm-up and the time that is recorded."""


@dataclass(frozen=True, slots=True)
class TracePlan:
    """The parameters of a trace."""

    app: str | None = None
    """The application, MODULE:ATTRIBUTE; None: the guestbook, with ASGI for models with an event loop, else with
    WSGI."""
    path: str = "/"
    users: int = 3
    think_s: float = 0.005
    keep_alive: bool = False
    warmup_s: float = 0.5
    duration_s: float = 1.0
    way: str = "auto"
    serve_options: tuple[str, ...] = ()
    store: str | None = None
    """Where the guestbook keeps its entries, as a URL for GUESTBOOK_STORE; None: a new file, unless the environment has
    that variable.
    """
    cpus: tuple[int, ...] = ()
    """The CPUs that the server is bound to; empty: all."""

    def app_for(self, model: str) -> str:
        return self.app or (ASYNCHRONOUS_GUESTBOOK if model in LOOPS else GUESTBOOK)

    def command(self, model: str, port: int, span_log: Path) -> list[str]:
        """Return the command that starts the server."""
        words = [sys.executable, "-m", "septet", "serve", self.app_for(model), "--model", model]
        return [*words, "--bind", f"127.0.0.1:{port}", "--span-log", str(span_log), *self.serve_options]

    def visitors(self, port: int) -> list[str]:
        """Return the command that starts the process of the users."""
        url = f"http://127.0.0.1:{port}{self.path}"
        words = [sys.executable, "-m", "septet.lab.trace.visitors", url, "--users", str(self.users)]
        words += ["--think", f"{self.think_s:g}"]
        return words if self.keep_alive else [*words, "--close"]


@dataclass(frozen=True, slots=True)
class Trace:
    """The recording and the requests of one model. `first_pid` is the pid of the server's first process."""

    model: str
    command: list[str]
    first_pid: int
    recording: Recording
    requests: list[Request]


def trace(
    plan: TracePlan, model: str, tell: Callable[[str], None] = lambda line: None, limit_s: float = _LIMIT_S
) -> Trace:
    """Record one process model; `tell` is called with lines of progress.

    Raises Failed when the model cannot be traced, or takes `limit_s` seconds longer than planned. All processes that
    were started have ended on return.
    """
    limit_s += plan.warmup_s + plan.duration_s
    with time_limit(limit_s, f"it was not traced within {limit_s:.0f} s; fewer --users may help"):
        return _trace(plan, model, tell)


def _trace(plan: TracePlan, model: str, tell: Callable[[str], None]) -> Trace:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="septet-trace-") as directory:
        scratch = Path(directory)
        span_log = scratch / "spans.jsonl"
        command = plan.command(model, port, span_log)
        with Server(command, _environment(plan, scratch), _STOP_TIMEOUT_S, plan.cpus) as server:
            # At once: threads that the server starts from now on are recorded, earlier ones are not.
            with Recorder(server.session, frozenset([port]), plan.way) as recorder:
                server.await_answer(f"http://127.0.0.1:{port}{plan.path}", _START_TIMEOUT_S)
                with _visitors(plan.visitors(port)) as visitors:
                    tell(f"{model}: {plan.warmup_s:g} s of warm-up, then {plan.duration_s:g} s recorded")
                    time.sleep(plan.warmup_s)
                    recording = recorder.record(plan.duration_s)
                    visits = _stop_visitors(visitors)
                server.check_alive()
            server.stop()
            first_pid = server.session
        tell(f"{model}: {len(visits):,} requests and {recording.records:,} records are put together")
        spans, turns = read_spans(span_log.read_text())
    requests = join(visits, spans, turns)
    during = [each for each in requests if each.answered > recording.start and each.asked < recording.end]
    if not any(each.status for each in during):
        raise Failed(f"no request was answered while {model} was recorded")
    return Trace(model, command, first_pid, recording, during)


def _environment(plan: TracePlan, scratch: Path) -> dict[str, str]:
    """Return environment variables to add for the server: a new store for the guestbook in `scratch`, unless the user
    named one; and that the server has no supervisor process.
    """
    one_process = {"SEPTET_SUPERVISOR": "no"}
    if plan.store is not None:
        return {STORE: plan.store, **one_process}
    if (plan.app is not None and not plan.app.startswith(_GUESTBOOKS)) or STORE in os.environ:
        return one_process
    return {STORE: f"sqlite:///{scratch / 'guestbook.sqlite3'}", **one_process}


@contextmanager
def _visitors(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start the process of the users, and yield it once each has sent a request. Raises Failed if it ends before."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None, "it was started with a pipe"
            if process.stdout.readline() != "here\n":
                raise Failed(f"the users did not come: {process.communicate()[1].strip()}")
            yield process
        finally:
            process.kill()


def _stop_visitors(visitors: subprocess.Popen[str]) -> list[Visit]:
    """Make the users stop, by the end of their standard input, and return the requests that they recorded. Raises
    Failed if they do not end in time, or have failed.
    """
    try:
        said, complaints = visitors.communicate(timeout=_VISITORS_GRACE_S)
    except subprocess.TimeoutExpired:
        raise Failed("the users did not come to an end") from None
    if visitors.returncode:
        raise Failed(f"the users failed: {complaints.strip()}")
    told: list[Any] = json.loads(said)
    return [(user, port, asked, answered, status) for user, port, asked, answered, status in told]
