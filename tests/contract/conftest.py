"""Fixtures of the contract: one test body, run under every process model and application interface.

A test that takes `server` gets a server that it shares with all others of its (model, interface); it may do
anything but stop it or leave it unwell: after every test the server must run and have logged no exception of its
own. Tests about starting, stopping and limits start servers of their own with `serve`.

Which models a test runs under follows from what could make its result differ:

- Every model (the default): whatever depends on how bytes, files, time and processes are handled. That is delivery in
  pieces, streaming and back-pressure, sendfile(2), deadlines, disconnects, stops, workers, accepting, and execution.
- `each_style`, a blocking model and an event-driven one: how an application is called and what becomes of its mistakes.
  The models of a style share that code (`models/_blocking.py`, `models/_reactor.py`).
- `with_one_interface`, every model, but with ASGI one of each style only: what the application has no part in, such as
  addresses, workers, and connections that are idle.
- `engine_decides`, one model: parsing, limits, the meaning of fields, the choice of a static file. The session and the
  HTTP engine do that before a model has a part in it; their own tests are in `tests/http` and `tests/test_session*.py`.
- `cases(...)`: some parameters under every model and the rest under one.

No case runs nowhere: what is not under every model is under `epoll`, with every interface it concerns.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from support.models import CONFIGURATIONS, INTERFACES, MODELS, Configuration, refusal
from support.pool import Pool
from support.server import Server
from support.static_tree import make_static_tree

_STDERR_SHOWN = 4000


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=INTERFACES)
def interface(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=CONFIGURATIONS, ids=str)
def configuration(request: pytest.FixtureRequest) -> Configuration:
    """A model with its options, for tests of where a WSGI application runs."""
    found = request.param
    assert isinstance(found, Configuration)
    return found


@pytest.fixture(autouse=True)
def _model_can_run(request: pytest.FixtureRequest) -> None:
    """Skip what the kernel or this Python refuses, with its reason; a refusal by the server alone is a failure."""
    for name in _models(request):
        reason = refusal(name)
        if reason is not None:
            pytest.skip(reason)


def _models(request: pytest.FixtureRequest) -> Iterator[str]:
    if "model" in request.fixturenames:
        yield request.getfixturevalue("model")
    if "configuration" in request.fixturenames:
        yield request.getfixturevalue("configuration").model
    for name in {"how", "pair"}.intersection(request.fixturenames):  # a model beside its options or the interface
        parts = request.getfixturevalue(name)
        if isinstance(parts, tuple):
            yield from (str(part) for part in parts)


@pytest.fixture(scope="session")
def static_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that shared servers serve at /files."""
    return make_static_tree(tmp_path_factory.mktemp("static"))


@pytest.fixture(scope="session")
def servers(static_tree: Path) -> Iterator[Pool]:
    pool = Pool(static_tree)
    yield pool
    pool.stop()


@pytest.fixture(scope="module")
def servers_of_file(static_tree: Path) -> Iterator[Pool]:
    """Servers that the tests of one file share, of applications or options that no other file has. They end with it."""
    pool = Pool(static_tree)
    yield pool
    pool.stop()


@pytest.fixture
def server(servers: Pool, model: str, interface: str) -> Iterator[Server]:
    """The shared server of (model, interface), which must be well after the test."""
    with staying_well(servers.get(model, interface)) as shared:
        yield shared


@pytest.fixture
def shared_server(servers: Pool, configuration: Configuration) -> Iterator[Callable[[str], Server]]:
    """The shared server of a configuration and the WSGI application that it is called with; well after the test."""
    with ExitStack() as stack:
        model, options = configuration
        yield lambda app: stack.enter_context(staying_well(servers.get(model, "wsgi", *options, app=app)))


@contextmanager
def staying_well(server: Server) -> Iterator[Server]:
    position = len(server.stderr())
    yield server
    assert server.running, f"the server ended with {server.process.returncode}: {server.stderr()[position:]}"
    assert not server.complaints(position), server.stderr()[position:]


@pytest.fixture
def token() -> str:
    """A name that this test alone uses in the journal and at gates."""
    return uuid4().hex


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the server's log with a failure."""
    report = yield
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(server, Server) and server.directory.exists():
        report.sections.append(("stderr of the server", server.stderr()[-_STDERR_SHOWN:]))
    return report
