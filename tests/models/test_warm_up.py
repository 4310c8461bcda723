"""What the parent of forking serves to itself before its first client: it is served, and leaves nothing behind."""

import logging
import os
import resource
from collections.abc import Iterator

import pytest

from septet import forked
from septet.apps.site import Site
from septet.http import sections
from septet.models import _warm_up
from septet.models._warm_up import warm_up
from septet.processes.orders import Stop
from septet.service import Service
from septet.settings.config import Config


@pytest.fixture
def service() -> Iterator[Service]:
    stop = Stop(signals=False)
    try:
        config = Config(limit_concurrency=1, request_id="X-Request-Id", server_timing=True)
        yield Service.from_config(config, site=Site(None), listeners=(), stop=stop, ready=print)
    finally:
        stop.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_all_requests_are_answered(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    sections._names.clear()  # earlier tests may have filled it
    calls: list[str] = []
    greet = _warm_up._greet
    monkeypatch.setattr(_warm_up, "_greet", lambda *told: (calls.append(told[0]["REQUEST_METHOD"]), greet(*told))[1])
    warm_up(service)
    assert calls == ["GET", "POST", "GET"] * _warm_up.CONNECTIONS
    assert b"Accept-Language" in sections._names


def test_nothing_is_left(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    warm_up(service)
    before = descriptors()
    with caplog.at_level(logging.DEBUG):
        warm_up(service)
    assert descriptors() == before
    assert caplog.records == []
    assert not forked.sockets
    assert service.in_flight.enter()  # no request is in flight but this
    service.in_flight.leave()


def test_without_descriptors(service: Service) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    try:
        warm_up(service)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
