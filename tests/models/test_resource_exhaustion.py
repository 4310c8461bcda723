"""One line in the log for each episode in which a resource is exhausted."""

import logging
import os
from errno import ENOMEM
from typing import Any

import pytest

from septet.processes import orders, resource_exhaustion
from septet.processes.orders import Stop
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


class Waits(Stop):
    """An order to stop that cannot be waited for, twice."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(signals=False)
        self.errors = [error, error]

    def wait_for_signal(self, timeout_s: float | None, attendant: Any = None) -> None:
        if self.errors:
            raise self.errors.pop()


@pytest.mark.parametrize("error", [OSError(ENOMEM, os.strerror(ENOMEM)), MemoryError()])
def test_wait_for_signals_that_lacks_memory(
    error: BaseException, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was said that a signal handler of the application had raised."""
    monkeypatch.setattr(orders, "_exhaustion", ResourceExhaustion())
    stop = Waits(error)
    stop.wait(lambda: not stop.errors)
    stop.close()
    (said,) = caplog.messages
    assert said.startswith("cannot wait for signals: ")
