"""One line in the log for each episode in which a resource is exhausted."""

import logging

import pytest

from septet.processes import resource_exhaustion
from septet.processes.resource_exhaustion import EPISODE_S, ResourceExhaustion


def test_one_line_for_each_episode(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    exhaustion = ResourceExhaustion()
    instants = (0.0, 1.0, EPISODE_S + 0.5, EPISODE_S * 3)  # the third follows the second, the fourth nothing
    with caplog.at_level(logging.ERROR, "septet"):
        for instant in instants:
            monkeypatch.setattr(resource_exhaustion, "monotonic", lambda now=instant: now)
            exhaustion.report("cannot do it")
    assert [record.getMessage() for record in caplog.records] == [
        "cannot do it; clients wait until it can be done again"
    ] * 2
