"""Both applications behind the real server: the same requests, the same answers, with either store."""

import re
from collections.abc import Iterator
from itertools import product
from urllib.parse import urlencode

import pytest

from septet.examples.guestbook.form import BODY_LIMIT
from septet.examples.guestbook.page import REMARKS_SHOWN
from support.client import Response
from support.models import MODELS, refusal
from support.redis_server import RedisServer
from support.server import Server

FORM = "Content-Type: application/x-www-form-urlencoded"
APPS = {"wsgi": "support.app_guestbook:wsgi", "asgi": "septet.examples.guestbook:asgi"}


STORES = ("sqlite", "redis")


def serve_guestbook(interface: str, url: str, *options: str) -> Server:
    return Server(APPS[interface], *options, environment={"GUESTBOOK_STORE": url})


@pytest.fixture(params=APPS)
def server(request: pytest.FixtureRequest, store_url: str) -> Iterator[Server]:
    with serve_guestbook(request.param, store_url) as running:
        yield running
        assert_ends_well(running)


@pytest.fixture(scope="module", params=product(APPS, STORES), ids="-".join)
def lasting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for tests to which it is all the same what others have written and how often the page was seen."""
    interface, store = request.param
    if store == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('store')}/book.sqlite3"
    else:
        url = request.getfixturevalue("redis_server").url
    with serve_guestbook(interface, url) as running:
        yield running
        assert_ends_well(running)


def assert_ends_well(server: Server) -> None:
    """Neither a traceback nor a connection to the store that nobody closed."""
    server.stop()
    assert server.complaints() == []


def form_body(**fields: str) -> bytes:
    return urlencode(fields).encode()


def sign(server: Server, name: str = "Ada", remark: str = "hello") -> Response:
    return server.request("POST", "/guestbook", FORM, body=form_body(name=name, remark=remark))


def views(page: Response) -> int:
    found = re.search(rb'class="odometer">(\d+)<', page.body)
    assert found is not None, page.body
    return int(found[1])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("interface", APPS)
def test_the_guestbook_works_under_every_model(model: str, interface: str, store_url: str) -> None:
    if reason := refusal(model):
        pytest.skip(reason)
    with serve_guestbook(interface, store_url, "--model", model) as server:
        assert views(server.get("/guestbook")) == 1
        assert sign(server, "Zoë", "under " + model).status == 303
        page = server.get("/guestbook")
        assert views(page) == 2
        assert f"under {model}" in page.body.decode()
        assert server.get("/guestbook/static/book.svg").status == 200
        assert_ends_well(server)


def test_a_page_is_complete_and_safe(lasting: Server) -> None:
    page = lasting.get("/guestbook")
    assert page.status == 200
    assert page.get("Content-Type") == "text/html; charset=utf-8"
    assert page.get("Cache-Control") == "no-cache"
    assert page.get("X-Content-Type-Options") == "nosniff"
    assert "default-src 'none'" in (page.get("Content-Security-Policy") or "")
    assert page.framing == "length"


def test_views_are_counted_and_pages_stay_equally_long(server: Server) -> None:
    pages = [server.get("/guestbook") for _ in range(12)]
    assert [views(page) for page in pages] == list(range(1, 13))
    assert len({len(page.body) for page in pages}) == 1


def test_head_is_a_page_without_its_body_and_counts_nothing(server: Server) -> None:
    page = server.get("/guestbook")
    head = server.request("HEAD", "/guestbook")
    assert (head.status, head.body) == (200, b"")
    assert without_date(head) == without_date(page)
    assert views(server.get("/guestbook")) == 2


def without_date(response: Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in response.fields if name.lower() != "date"]


def test_a_remark_leads_back_to_the_page_that_shows_it(server: Server) -> None:
    answer = sign(server, "Zoë 🎉", "first line\r\n<b>second</b>")
    assert (answer.status, answer.get("Location")) == (303, "/guestbook")
    html = server.get("/guestbook").body.decode()
    assert "Zoë 🎉" in html
    assert "first line\n&lt;b&gt;second&lt;/b&gt;" in html


def test_the_latest_remarks_come_first_and_old_ones_are_not_shown(server: Server) -> None:
    for number in range(REMARKS_SHOWN + 2):
        sign(server, remark=f"remark-{number}.")
    shown = re.findall(rb"remark-(\d+)\.", server.get("/guestbook").body)
    assert [int(number) for number in shown] == list(range(REMARKS_SHOWN + 1, 1, -1))


def test_a_chunked_form_is_taken(lasting: Server) -> None:
    with lasting.connect() as connection:
        connection.send(f"POST /guestbook HTTP/1.1\r\nHost: a\r\n{FORM}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for piece in (b"name=A", b"da&rem", b"ark=in+pieces"):
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
        assert connection.read_response("POST").status == 303
    assert b"in pieces" in lasting.get("/guestbook").body


@pytest.mark.parametrize("path", ["/", "/guestbook/"])
def test_other_addresses_of_the_page_lead_to_it(lasting: Server, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = lasting.request(method, path)
        assert (answer.status, answer.get("Location")) == (303, "/guestbook")


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/guestbook/static", "/guestbook/static/", "/guestbook/static/../page.py", "/guestbook/static/a%2fb"],
)
def test_what_is_not_there_is_404(lasting: Server, path: str) -> None:
    answer = lasting.get(path)
    assert answer.status == 404
    assert b'href="/guestbook"' in answer.body


def test_other_methods_are_told_what_is_possible(lasting: Server) -> None:
    page, file = lasting.request("PUT", "/guestbook", body=b"x"), lasting.request("POST", "/guestbook/static/style.css")
    assert (page.status, page.get("Allow")) == (405, "GET, HEAD, POST")
    assert (file.status, file.get("Allow")) == (405, "GET, HEAD")


def test_a_refused_form_comes_back_as_it_was_written(lasting: Server) -> None:
    answer = sign(lasting, "", "not <lost>")
    assert answer.status == 400
    assert b"Please write a name" in answer.body
    assert b"\nnot &lt;lost&gt;</textarea>" in answer.body


def test_another_media_type_is_415(lasting: Server) -> None:
    assert lasting.request("POST", "/guestbook", "Content-Type: text/plain", body=b"name=a&remark=b").status == 415


def test_too_large_a_form_is_413_whatever_its_framing(server: Server) -> None:
    body = b"name=a&remark=" + b"x" * BODY_LIMIT
    assert server.request("POST", "/guestbook", FORM, body=body).status == 413
    with server.connect() as connection:
        connection.send(f"POST /guestbook HTTP/1.1\r\nHost: a\r\n{FORM}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert connection.read_response("POST").status == 413
    assert b"Nobody has written yet" in server.get("/guestbook").body


@pytest.mark.parametrize(
    ("name", "media_type"), [("style.css", "text/css; charset=utf-8"), ("book.svg", "image/svg+xml")]
)
def test_static_files(lasting: Server, name: str, media_type: str) -> None:
    path = f"/guestbook/static/{name}"
    file = lasting.get(path)
    assert (file.status, file.get("Content-Type")) == (200, media_type)
    assert "max-age" in (file.get("Cache-Control") or "")
    assert file.body
    head = lasting.request("HEAD", path)
    assert (head.status, head.get("Content-Length"), head.body) == (200, str(len(file.body)), b"")
    again = lasting.get(path, f"If-None-Match: {file.get('ETag')}")
    assert (again.status, again.body) == (304, b"")
    assert lasting.get(path, 'If-None-Match: "other"').status == 200


def test_the_page_names_only_files_that_are_there(lasting: Server) -> None:
    names = set(re.findall(rb'(?:href|src)="([^"]+)"', lasting.get("/guestbook").body))
    assert names == {b"/guestbook/static/style.css", b"/guestbook/static/book.svg"}


@pytest.mark.parametrize("interface", APPS)
def test_without_its_store_it_answers_503_and_says_why_in_the_log(interface: str) -> None:
    with RedisServer() as redis, serve_guestbook(interface, redis.url) as server:
        assert server.get("/guestbook").status == 200
        redis.stop()
        answer = server.get("/guestbook")
        assert answer.status == 503
        assert answer.get("Retry-After") is not None
        assert sign(server).status == 503
        assert server.get("/guestbook/static/style.css").status == 200
        assert f"the guestbook's store {redis.url} cannot be used" in server.stderr()
        redis.restart()
        assert views(server.get("/guestbook")) == 1


@pytest.mark.parametrize("interface", APPS)
def test_a_wrong_choice_of_store_is_told_before_anything_is_served(interface: str) -> None:
    server = Server(APPS[interface], environment={"GUESTBOOK_STORE": "mysql://somewhere"}, wait_ready=False)
    with server:
        assert server.wait() in (1, 2)
        assert server.stderr().count("\n") == 1
        assert (
            "'mysql://somewhere' names no store; allowed are sqlite:///PATH and redis://HOST:PORT/DB" in server.stderr()
        )
