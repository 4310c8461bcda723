"""A request's line and header reach the application unharmed: methods, targets, fields."""

import json
from typing import Any

import pytest

from support.client import Response
from support.marks import each_style, engine_decides
from support.messages import render
from support.server import Server

Echo = dict[str, Any]


def echo_of(response: Response) -> Echo:
    assert response.status == 200, response
    assert response.get("content-type") == "application/json"
    seen: Echo = json.loads(response.body)
    return seen


@engine_decides
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT", "X-OWN", "get"])
def test_method(server: Server, method: str) -> None:
    assert echo_of(server.request(method, "/"))["method"] == method


@engine_decides
@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a/b.c", "/a/b.c", ""),
        ("/a/b/", "/a/b/", ""),
        ("//double//slash", "//double//slash", ""),
        ("/a/../b/./c", "/a/../b/./c", ""),
        ("/a%20b", "/a b", ""),
        ("/a+b", "/a+b", ""),
        ("/caf%C3%A9/%e2%82%ac", "/café/€", ""),
        ("/a%2Fb", "/a/b", ""),
        ("/a%3Fb", "/a?b", ""),
        ("/100%25", "/100%", ""),
        ("/a;b=c,d:e@f!$&'()*", "/a;b=c,d:e@f!$&'()*", ""),
        ("/?", "/", ""),
        ("/a?b=c&d=%20e+f", "/a", "b=c&d=%20e+f"),
        ("/a?b?c", "/a", "b?c"),
        ("/a?b=/c", "/a", "b=/c"),
        ("/a?caf%C3%A9", "/a", "caf%C3%A9"),
    ],
)
def test_target(server: Server, target: str, path: str, query: str) -> None:
    seen = echo_of(server.get(target))
    assert (seen["path"], seen["query"]) == (path, query)


@engine_decides
def test_long_target(server: Server) -> None:
    target = "/" + "a" * 4000 + "?" + "b" * 3000
    seen = echo_of(server.get(target))
    assert f"{seen['path']}?{seen['query']}" == target


@engine_decides
def test_asterisk_form(server: Server, interface: str) -> None:
    """RFC 9112, section 3.2.4: a request about the server itself. A path of WSGI begins with a slash (PEP 3333)."""
    seen = echo_of(server.request("OPTIONS", "*"))
    assert (seen["method"], seen["path"]) == ("OPTIONS", "/" if interface == "wsgi" else "*")


@engine_decides
@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://other.test/a%20b?c", "/a b", "c"),
        ("http://other.test:8080/", "/", ""),
        ("http://other.test", "/", ""),
        ("http://other.test?c", "/", "c"),
        ("HTTP://other.test/a", "/a", ""),
    ],
)
def test_absolute_form(server: Server, target: str, path: str, query: str) -> None:
    """RFC 9112, section 3.2.2: a server must accept it, though only proxies are asked so."""
    host = target.split("/")[2].partition("?")[0]
    seen = echo_of(server.get(target, f"Host: {host}"))
    assert (seen["path"], seen["query"]) == (path, query)
    assert seen["fields"]["host"] == host


@engine_decides
def test_absolute_form_against_host(server: Server) -> None:
    """Refused, or Host is replaced; an application that saw the client's Host would believe in two hosts at once."""
    response = server.get("http://one.test/", "Host: two.test")
    assert response.status == 400 or echo_of(response)["fields"]["host"] == "one.test"


@engine_decides
def test_bytes_that_are_not_ascii_in_the_target(server: Server) -> None:
    """RFC 3986 does not know them; refused, because what follows would depend on who decodes them."""
    with server.connect() as connection:
        connection.send(b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: example.test\r\n\r\n")
        assert connection.read_response().status == 400
        connection.assert_closed()


@engine_decides
def test_fields(server: Server) -> None:
    seen = echo_of(
        server.get(
            "/",
            "X-Plain: value",
            "x-LOWER-upper: MiXed",
            "X-Spaces: \t around it  ",
            "X-Inner: a  b\tc",
            "X-Empty:",
            "X-Colon: a:b",
            "X-Latin: caf\xe9 \xff",
            "X!#$%&'*+.^`|~1: every character of a token",
            f"X-Long: {'l' * 7000}",
        )
    )["fields"]
    assert seen["host"] == "example.test"
    assert seen["x-plain"] == "value"
    assert seen["x-lower-upper"] == "MiXed"
    assert seen["x-spaces"] == "around it"
    assert seen["x-inner"] == "a  b\tc"
    assert seen["x-empty"] == ""
    assert seen["x-colon"] == "a:b"
    assert seen["x-latin"] == "caf\xe9 \xff"
    assert seen["x!#$%&'*+.^`|~1"] == "every character of a token"
    assert seen["x-long"] == "l" * 7000


@engine_decides
def test_repeated_fields(server: Server) -> None:
    """All values arrive, in their order (RFC 9110, section 5.3); cookies joined so that they can be told apart."""
    sent = ("X-Many: 1", "X-Other: o", "X-Many: 2, 3", "x-many: 4", "Cookie: a=1", "Cookie: b=2")
    fields = echo_of(server.get("/", *sent))["fields"]
    assert [value.strip() for value in fields["x-many"].split(",")] == ["1", "2", "3", "4"]
    assert fields["cookie"] == "a=1; b=2"


@engine_decides
def test_content_fields(server: Server) -> None:
    seen = echo_of(server.request("POST", "/", "Content-Type: text/x-own; charset=latin-1", body=b"body"))
    assert seen["fields"]["content-type"] == "text/x-own; charset=latin-1"
    assert seen["fields"]["content-length"] == "4"
    assert seen["body"] == "body"


@engine_decides
def test_an_underscore_does_not_pass_for_a_hyphen(server: Server) -> None:
    """Both become HTTP_X_TRUSTED in CGI's naming; a proxy that removes one would let the other through."""
    response = server.get("/", "X-Trusted: by the proxy", "X_Trusted: by the client")
    assert response.status == 400 or echo_of(response)["fields"]["x-trusted"] == "by the proxy"


@engine_decides
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_version_and_scheme(server: Server, version: str) -> None:
    with server.connect() as connection:
        connection.send(render("GET", "/", version=version))
        seen = echo_of(connection.read_response())
    assert (seen["version"], seen["scheme"]) == (version, "http")


def test_addresses(server: Server) -> None:
    with server.connect() as connection:
        seen = echo_of(connection.request("GET", "/"))
        assert seen["client"] == list(connection.socket.getsockname())
        assert seen["server"] == list(connection.socket.getpeername())


@engine_decides
def test_http_1_0_without_host(server: Server) -> None:
    with server.connect() as connection:
        connection.send(b"GET /old HTTP/1.0\r\n\r\n")
        assert echo_of(connection.read_response())["path"] == "/old"


@engine_decides
def test_empty_lines_before_the_request(server: Server) -> None:
    """RFC 9112, section 2.2: at least one is to be ignored."""
    with server.connect() as connection:
        connection.send(b"\r\n" + render("GET", "/after"))
        assert echo_of(connection.read_response())["path"] == "/after"


def test_head_byte_by_byte(server: Server) -> None:
    request = render("GET", "/slowly?a=b", "X-Field: value")
    with server.connect() as connection:
        connection.send_pieces(request[i : i + 1] for i in range(len(request)))
        seen = echo_of(connection.read_response())
    assert (seen["path"], seen["query"], seen["fields"]["x-field"]) == ("/slowly", "a=b", "value")


@each_style
def test_what_the_application_changes_is_gone_at_the_next_request(server: Server) -> None:
    """The same header again and again is the case for which a server may remember what it parsed."""
    with server.connect() as connection:
        for _ in range(3):
            response = connection.request("GET", "/spoil", "X-Field: value")
            assert json.loads(response.body) == {"stale": [], "host": "example.test"}
