"""Fixtures of the contract: one test body, run under every process model and application interface.

A test that takes `server` gets a server that it shares with all others of its (model, interface); it may do
anything but stop it or leave it unwell: after every test the server must run and have logged no exception of its
own. Tests about starting, stopping and limits start servers of their own with `serve`.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from support.models import INTERFACES, MODELS, io_uring_refusal
from support.server import Server, serve
from support.static_tree import make_static_tree

_STDERR_SHOWN = 4000


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=INTERFACES)
def interface(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _io_uring_permitted(request: pytest.FixtureRequest) -> None:
    """Skip what the kernel refuses, with the kernel's reason; a refusal by the server alone is a failure."""
    if "model" in request.fixturenames and request.getfixturevalue("model") == "io_uring":
        reason = io_uring_refusal()
        if reason is not None:
            pytest.skip(reason)


class Pool:
    """The shared servers, each started when it is first asked for."""

    def __init__(self, static: Path) -> None:
        self._static = static
        self._servers: dict[tuple[str, str], Server] = {}

    def get(self, model: str, interface: str) -> Server:
        server = self._servers.get((model, interface))
        if server is None or not server.running:
            server = serve(model, interface, "--graceful-timeout", "5", "--static", f"/files={self._static}")
            self._servers[model, interface] = server.__enter__()
        return server

    def stop(self) -> None:
        """Stop all, then report the first that did not stop well."""
        errors: list[AssertionError] = []
        for server in self._servers.values():
            try:
                server.__exit__(None, None, None)
            except AssertionError as error:
                errors.append(error)
        if errors:
            raise errors[0]


@pytest.fixture(scope="session")
def static_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that shared servers serve at /files."""
    return make_static_tree(tmp_path_factory.mktemp("static"))


@pytest.fixture(scope="session")
def servers(static_tree: Path) -> Iterator[Pool]:
    pool = Pool(static_tree)
    yield pool
    pool.stop()


@pytest.fixture
def server(servers: Pool, model: str, interface: str, request: pytest.FixtureRequest) -> Iterator[Server]:
    """The shared server of (model, interface), which must be well after the test."""
    shared = servers.get(model, interface)
    position = len(shared.stderr())
    yield shared
    assert shared.running, f"the server ended with {shared.process.returncode}: {shared.stderr()[position:]}"
    assert not shared.complaints(position), shared.stderr()[position:]


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
