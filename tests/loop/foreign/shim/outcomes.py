"""A pytest plugin (`-p outcomes`): what became of each test, as JSON in the file SUITE_OUTCOMES.

It also ends the process, hard, when all is written: tests that hang leave threads behind, for which Python would wait.
"""

import json
import os
from pathlib import Path

import pytest

WORST_LAST = ("passed", "skipped", "failed")

outcomes: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Of set-up, test and tear-down, and of each part of a test, the worst counts."""
    before = outcomes.get(report.nodeid, "passed")
    outcomes[report.nodeid] = max(before, report.outcome, key=WORST_LAST.index)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        outcomes[report.nodeid] = "failed"


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    Path(os.environ["SUITE_OUTCOMES"]).write_text(json.dumps(outcomes))
    os._exit(0)
