"""No memory to fork with: the supervisor says so and tries again later. It neither ends nor logs without end."""

from typing import Any, cast

import pytest

from septet.apps.site import Site
from septet.pollers import Poll
from septet.processes.orders import Stop
from septet.processes.succession import Succession
from septet.processes.supervisor import Supervisor
from septet.rules import Rules
from septet.service import Service


class NoOverseer:
    """Told of an order that has failed."""

    def order_ended(self, text: str, failed: bool = False) -> None:
        assert failed


def lacks_memory(*arguments: Any) -> Any:
    raise MemoryError


def test_worker(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    stop = Stop()
    monkeypatch.setattr(Stop, "has_supervisor", True)  # so that it does not take the signals of this process
    service = Service(listeners=(), site=Site(None), rules=Rules(), stop=stop, ready=lambda workers: None)
    supervisor: Supervisor[Service] = Supervisor(service, lambda service: None, 1, 1)
    supervisor._announced = True
    monkeypatch.setattr(supervisor._factory, "fork", lacks_memory)
    for _ in range(3):
        supervisor._fill()
    assert [record.getMessage() for record in caplog.records] == [
        "cannot start a worker: out of memory; clients wait until it can be done again"
    ]
    stop.close()


def test_generation(caplog: pytest.LogCaptureFixture) -> None:
    stop, plan = Stop(), cast("Any", None)
    succession = Succession(stop, plan, cast("Any", NoOverseer()), cast("Any", None), Poll(), lacks_memory)
    succession.served = True
    succession.begin(plan, "HUP", "reload")
    assert succession.living.next is None
    assert succession.start_at > 0
    assert [record.getMessage() for record in caplog.records] == ["cannot start a generation: out of memory"]
    stop.close()
