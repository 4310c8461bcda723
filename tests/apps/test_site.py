"""What answers a request: a directory at its route, the application, or a 404."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from septet.apps.asgi import Asgi
from septet.apps.site import Site
from septet.apps.static import Static
from septet.apps.wsgi import Wsgi
from support.carrier import Watched
from support.messages import render


def found(site: Site, path: str) -> Any:
    session = Watched()
    session.receive(render("GET", path))
    return site.find(session)


@pytest.fixture
def directories(tmp_path: Path) -> tuple[Static, Static]:
    return Static("/static/", str(tmp_path)), Static("/static/sub/", str(tmp_path))


def test_directories_come_before_the_application(directories: tuple[Static, ...]) -> None:
    wsgi = Wsgi(lambda environ, start_response: [])
    site = Site(wsgi, directories)
    assert [found(site, path) for path in ("/", "/statics", "/static", "/static/x")] == [
        wsgi,
        wsgi,
        *directories[:1] * 2,
    ]


def test_first_directory_wins(directories: tuple[Static, ...]) -> None:
    assert found(Site(None, directories), "/static/sub/x") is directories[0]
    assert found(Site(None, directories[::-1]), "/static/sub/x") is directories[1]


def test_nobody_answers_404(run: Callable[..., Any], directories: tuple[Static, ...]) -> None:
    site = Site(None, directories)
    assert run(site.find(Watched()), render("GET", "/other")).answer.status == 404


def test_options_of_the_server_as_a_whole(run: Callable[..., Any], directories: tuple[Static, ...]) -> None:
    """RFC 9110 section 9.3.7: `*` is no path below a directory. An application, if there is one, answers it."""
    site = Site(None, directories)
    session = Watched()
    session.receive(render("OPTIONS", "*"))
    answer = run(site.find(session), render("OPTIONS", "*")).answer
    assert (answer.status, answer.fields["allow"]) == (204, "get, head, options")
    wsgi = Wsgi(lambda environ, start_response: [])
    assert Site(wsgi, directories).find(session) is wsgi


def test_site_knows_its_interface() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    asgi = Asgi(application)
    assert (Site(asgi).asgis, Site(asgi).has_wsgi) == ((asgi,), False)
    for site, has_wsgi in ((Site(None), False), (Site(Wsgi(lambda environ, start_response: [])), True)):
        assert (site.asgis, site.has_wsgi) == ((), has_wsgi)
