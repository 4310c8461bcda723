"""The visits of `make apps` to the frameworks that the tests have at hand, without a peer beside them."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from real_apps.applications import APPLICATIONS, Application, Templates
from real_apps.servers import septet
from real_apps.visit import Site, walk
from support.models import MODELS, STYLES
from support.server import complaints

AT_HAND = {application.name: application for application in APPLICATIONS if application.in_tests}

EVERYWHERE = ("django-wsgi", "starlette")
"""One of each interface goes through every model; the others show what frameworks ask of an interface, which models of
a style do alike. `make apps` visits all under all."""

WHERE = [*product(MODELS, EVERYWHERE), *product(STYLES, sorted(AT_HAND.keys() - set(EVERYWHERE)))]


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return Templates(tmp_path_factory.mktemp("real-applications"))


@pytest.fixture
def application(request: pytest.FixtureRequest) -> Application:
    return AT_HAND[request.param]


@pytest.fixture
def site(model: str, application: Application, templates: Templates, tmp_path: Path) -> Iterator[Site]:
    """The application under the model; the server must end well, and have logged no exception."""
    templates.copy(application, tmp_path)
    with septet(application, model, (), tmp_path) as server:
        yield Site(server.url, tmp_path)
        log = server.log()
    found = complaints(log)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("model", "application"), WHERE, indirect=["application"])
def test_visit(site: Site, application: Application, model: str) -> None:
    steps = [step for step in application.steps if not step.excepted(model)]
    problems = {outcome.step.name: outcome.problem for outcome in walk(steps, site) if outcome.problem}
    assert not problems
