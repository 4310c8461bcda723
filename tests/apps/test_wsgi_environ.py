"""The environment of a WSGI application (PEP 3333, "environ Variables"; CGI 1.1)."""

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.validate import validator

import pytest

from septet.apps.wsgi import REMEMBERED_NAMES, REMEMBERED_SERVERS, Wsgi, _keys
from septet.protocol import RUN
from septet.rules import Rules
from septet.session.http1 import Session
from support.carrier import Watched
from support.messages import render

Run = Callable[..., Any]
Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], None]]

PLAIN = [("Content-Type", "text/plain")]
GET = render("GET", "/")


def environ_of(data: bytes, session: Session | None = None, **flags: bool) -> Environ:
    seen: Environ = {}

    def application(environ: Environ, start_response: Start) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", PLAIN)
        return [b""]

    session = session or Watched()
    assert session.receive(data) is RUN
    Wsgi(application, **flags)(session)
    return seen


def test_environment_of_a_request() -> None:
    environ = environ_of(
        render("POST", "/a%20b/%C3%A9?x=%20&y", "Content-Type: text/x", "X-Some-Field: \xe9", body=b"12345")
    )
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b/\xc3\xa9",  # bytes as latin-1, PEP 3333 "Unicode Issues"
        "QUERY_STRING": "x=%20&y",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "5",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "192.0.2.2",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "50000",
        "HTTP_HOST": "example.test",
        "HTTP_X_SOME_FIELD": "\xe9",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(environ)


def test_environment_is_made_anew_for_equal_requests() -> None:
    """The part of the environment that depends on the head is cached; what an application writes into it is not."""
    seen = []

    def application(environ: Environ, start_response: Start) -> list[bytes]:
        seen.append(environ)
        assert "mine" not in environ
        environ["mine"] = environ["HTTP_HOST"] = "changed"
        start_response("200 OK", PLAIN)
        return [b""]

    wsgi = Wsgi(application)
    for number in range(3):
        session = Session(Rules(), ("198.51.100.7", 50000 + number), ("192.0.2.2", 80))
        session.receive(GET)
        wsgi(session)
    assert [environ["REMOTE_PORT"] for environ in seen] == ["50000", "50001", "50002"]


def test_values_that_differ_are_each_requests_own() -> None:
    """Caches never give one client's values to another, in however many requests."""
    seen: list[Environ] = []

    def application(environ: Environ, start_response: Start) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", PLAIN)
        return [b""]

    wsgi, rules, names = Wsgi(application), Rules(), ("Cookie", "X-Request-Id", "Proxy")
    for number in range(200):
        session = Session(rules, ("198.51.100.7", 50000), ("192.0.2.2", 80))
        fields = [f"{name}: {name}-{number}" for name in names[: 1 + number % 3]]
        session.receive(render("GET", f"/{number % 7}", "Accept: text/plain", *fields))
        wsgi(session)
        present = {key: value for key, value in seen[-1].items() if key.startswith("HTTP_")}
        expected = {"HTTP_HOST": "example.test", "HTTP_ACCEPT": "text/plain", "HTTP_COOKIE": f"Cookie-{number}"}
        if number % 3:
            expected["HTTP_X_REQUEST_ID"] = f"X-Request-Id-{number}"
        assert present == expected  # and never HTTP_PROXY
        assert seen[-1]["PATH_INFO"] == f"/{number % 7}"


@pytest.mark.parametrize("multithread", [True, False])
@pytest.mark.parametrize("multiprocess", [True, False])
def test_environment_tells_of_the_model(multithread: bool, multiprocess: bool) -> None:
    environ = environ_of(GET, multithread=multithread, multiprocess=multiprocess)
    assert (environ["wsgi.multithread"], environ["wsgi.multiprocess"]) == (multithread, multiprocess)


def test_repeated_fields_are_joined() -> None:
    """RFC 9110 section 5.3; and RFC 6265 section 5.4 for cookies, which may contain commas."""
    environ = environ_of(render("GET", "/", "A: 1", "a: 2", "Cookie: x=1", "Cookie: y=2"))
    assert (environ["HTTP_A"], environ["HTTP_COOKIE"]) == ("1,2", "x=1; y=2")


@pytest.mark.parametrize("value", ["0", "5", "007"])
def test_length_that_is_said_twice_is_one_number(value: str) -> None:
    fields = [f"Content-Length: {value}"] * 2
    environ = environ_of(render("POST", "/", *fields) + b"1234567"[: int(value)])
    assert int(environ["CONTENT_LENGTH"]) == int(value)


def test_client_cannot_write_what_is_not_its_own() -> None:
    environ = environ_of(render("GET", "/", "Wsgi.Input: x", "Remote-Addr: x", "X_Y: x", "Proxy: x", "Remote_Addr: y"))
    assert environ["REMOTE_ADDR"] == "192.0.2.1"
    assert "HTTP_X_Y" not in environ
    assert isinstance(environ["wsgi.input"], io.BytesIO)


def test_environment_on_a_unix_socket() -> None:
    """PEP 3333: SERVER_NAME and SERVER_PORT can never be empty strings."""
    environ = environ_of(GET, Session(Rules(), None, ("/run/app.sock", None)))
    assert "REMOTE_ADDR" not in environ
    assert environ["SERVER_NAME"]
    assert environ["SERVER_PORT"]


@pytest.mark.parametrize("address", ["::1", "2001:db8::7"])
def test_name_of_an_ipv6_server_is_in_brackets(address: str) -> None:
    """RFC 3875 section 4.1.14: SERVER_NAME is the host part of a URL."""
    environ = environ_of(render("GET", "/a", version="1.0"), Session(Rules(), ("::2", 5), (address, 8000)))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (f"[{address}]", "8000")
    assert environ["REMOTE_ADDR"] == "::2"  # section 4.1.8 has no brackets


def test_memory_of_servers_is_bounded() -> None:
    """On a wildcard listener clients can choose among all addresses of the machine."""
    rules = Rules()
    for number in range(1000):
        session = Session(rules, None, (f"10.0.{number // 256}.{number % 256}", 80))
        environ_of(render("GET", "/many-servers"), session)
        request = session.http.request
        assert len(request.derived) <= REMEMBERED_SERVERS + 1


def test_memory_of_names_is_bounded_and_forgets_none_of_cgi() -> None:
    for number in range(2 * REMEMBERED_NAMES):
        environ = environ_of(render("GET", "/", f"X-Name-{number}: a", "Content-Type: text/plain"))
        assert environ[f"HTTP_X_NAME_{number}"] == "a"
        assert environ["CONTENT_TYPE"] == "text/plain"
    assert len(_keys) <= REMEMBERED_NAMES


def test_question_about_the_server_has_a_path() -> None:
    """`OPTIONS *` (RFC 9112 section 3.2.4): a path begins with a slash (wsgiref.validate), the target is as sent."""
    environ = environ_of(render("OPTIONS", "*"))
    assert (environ["PATH_INFO"], environ["REQUEST_URI"], environ["QUERY_STRING"]) == ("/", "*", "")


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
@pytest.mark.parametrize(
    "data", [GET, render("HEAD", "/"), render("POST", "/?a", body=b"12345"), render("PURGE", "/", version="1.0")]
)
def test_validator_has_no_objection(run: Run, data: bytes) -> None:
    def application(environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read(3)
        environ["wsgi.errors"].flush()
        start_response("200 OK", PLAIN)
        return [b"a", b"b"]

    answer, _ = run(Wsgi(validator(application)), data)
    assert answer.status == 200


def test_input_of_a_request_without_a_body() -> None:
    assert environ_of(GET)["wsgi.input"].read() == b""
