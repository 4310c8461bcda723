"""What counting costs a request: steps of Python, which do not depend on the machine; and nothing where it is off."""

import socket
import sys
from types import FrameType
from typing import Any

from septet.apps.site import Site
from septet.metrics.observer import SPARSE, RequestMetrics
from septet.metrics.table import Table
from septet.rules import Rules
from septet.service import Service
from septet.session.http1 import Session
from septet.settings.config import Config
from support.carrier import Watched, ok, write_all
from support.messages import render

REQUESTS = 20 * SPARSE

#: Per request of a busy process, the sampled ones included: the calls of `began` and `ended`, and their instructions.
#: `tests/speed` has 32 calls and 1095 instructions for a whole request to an application that does nothing.
#: Three per cent of the instructions are 33. Until 2026-11-29 it took 2.2 calls and 54 instructions.
CALLS = 1.2
INSTRUCTIONS = 31


class Steps:
    """Counts calls and instructions of the observer's module."""

    def __init__(self) -> None:
        self.calls = self.instructions = 0

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.endswith("metrics/observer.py"):
            return None
        if event == "call":
            self.calls += 1
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        elif event == "opcode":
            self.instructions += 1
        return self.trace


class Unread(Watched):
    def unread_ms(self) -> None:
        return None


def serve(session: Watched, requests: int) -> None:
    for _ in range(requests):
        session.trail.clear()
        session.receive(render("GET", "/"))
        session.respond(ok(), b"hello", True)
        write_all(session)


def test_steps_of_a_request_in_a_busy_process() -> None:
    metrics = RequestMetrics(Table.with_row())
    session = Unread(Rules(observer=metrics))
    while not metrics._sparse:  # it sees by itself that it is busy
        serve(session, 100)
    metrics._flush_at_ns = 1 << 62  # what is done now and then is not counted
    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for one such frame when tracing begins
    steps = Steps()
    sys.settrace(steps.trace)
    try:
        serve(session, REQUESTS)
    finally:
        sys.settrace(None)
    found = f"{steps.calls / REQUESTS:.2f} calls, {steps.instructions / REQUESTS:.1f} instructions"
    assert steps.calls / REQUESTS <= CALLS, found
    assert 10 < steps.instructions / REQUESTS <= INSTRUCTIONS, found


def test_nothing_is_counted_without_the_option() -> None:
    service = Service.from_config(Config(), site=Site(None), listeners=(), stop=None, ready=print)  # type: ignore[arg-type]
    assert service.rules.observer is None
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert type(service.accepted(Reached(), ours, None)) is Session  # type: ignore[arg-type]


class Reached:
    certificates = None

    def reached(self, sock: socket.socket) -> tuple[str, None]:
        return "unix:", None
