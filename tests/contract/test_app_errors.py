"""An application that fails or breaks its interface: 500, or a cut connection; a traceback; and the server lives on."""

import pytest

from support.behaviour import BAD_FIELDS
from support.client import Response, Truncated
from support.marks import asgi_only, cases, each_style, wsgi_only
from support.messages import render
from support.server import Server
from support.waiting import wait_until


def assert_500(server: Server, target: str) -> Response:
    """A well-formed 500 that tells the client nothing of the error, and a server that answers the next request."""
    response = server.get(target)
    assert response.status == 500
    assert response.framing == "length"
    assert b"deliberate" not in response.body
    assert b"Traceback" not in response.body
    assert server.get("/").status == 200
    return response


def assert_logged(server: Server, token: str) -> None:
    """The traceback's last line names the error."""
    wait_until(lambda: f"DeliberateError: deliberate {token}" in server.stderr(), "the log has the traceback")
    assert "Traceback (most recent call last)" in server.stderr()


@each_style
@pytest.mark.parametrize("when", ["before start", "after start"])
def test_error_before_bytes_are_out(server: Server, when: str, token: str) -> None:
    assert_500(server, f"/fail?when={when.replace(' ', '+')}&token={token}")
    assert_logged(server, token)


@each_style
@wsgi_only
def test_error_at_the_first_part(server: Server, token: str) -> None:
    assert_500(server, f"/fail?when=first+part&token={token}")
    assert_logged(server, token)
    server.journal.wait_for(f"closed {token}")


def test_error_after_a_request_body(server: Server, token: str) -> None:
    with server.connect() as connection:
        connection.send(render("POST", f"/fail?when=before+start&token={token}", body=b"x" * 100_000))
        assert connection.read_response().status == 500
    assert_logged(server, token)


@cases("length", everywhere=[""], once=["&length=1000"])
def test_error_after_bytes_are_out(server: Server, length: str, token: str) -> None:
    """The client must be able to tell that the body is not whole: no last chunk, too few bytes."""
    with server.connect() as connection:
        connection.send(render("GET", f"/fail?when=second+part&token={token}{length}"))
        with pytest.raises(Truncated) as end:
            connection.read_response()
        assert end.value.received == b"the first part"
    assert_logged(server, token)
    assert server.get("/").status == 200


def test_error_when_the_answer_is_complete(server: Server, interface: str, token: str) -> None:
    """In close(), or after the last message: too late for the client to notice."""
    when = "close" if interface == "wsgi" else "at+the+end"
    with server.connect() as connection:
        assert connection.request("GET", f"/fail?when={when}&token={token}").body == b"the first part"
    assert_logged(server, token)
    assert server.get("/").status == 200


@each_style
def test_no_answer_at_all(server: Server) -> None:
    assert_500(server, "/silent")


@each_style
@pytest.mark.parametrize("kind", sorted(BAD_FIELDS))
def test_field_that_would_split_the_response(server: Server, kind: str) -> None:
    """Nothing of what the application made of the answer may be on the wire."""
    response = assert_500(server, f"/bad-field?kind={kind}")
    assert "x-injected" not in str(response).lower()


@each_style
@wsgi_only
def test_status_that_would_split_the_response(server: Server) -> None:
    response = assert_500(server, "/bad-status")
    assert "x-injected" not in str(response).lower()


@each_style
@wsgi_only
def test_exc_info_replaces_an_answer_that_is_not_out(server: Server, token: str) -> None:
    response = server.get(f"/replaced?token={token}")
    assert (response.status, response.body) == (503, b"the error page")
    assert response.get("x-first") is None
    assert response.get("x-second") == "yes"


@each_style
@wsgi_only
def test_exc_info_raises_again_when_bytes_are_out(server: Server, token: str) -> None:
    with server.connect() as connection:
        connection.send(render("GET", f"/replaced?late&token={token}"))
        with pytest.raises(Truncated) as end:
            connection.read_response()
        assert end.value.received == b"the first part"
    assert_logged(server, token)


@each_style
@wsgi_only
def test_second_start_response_is_refused(server: Server, token: str) -> None:
    assert_500(server, f"/started-twice?token={token}")
    assert_logged(server, token)


@asgi_only
def test_return_in_the_middle_of_an_answer(server: Server) -> None:
    with server.connect() as connection:
        connection.send(render("GET", "/unfinished"))
        with pytest.raises(Truncated) as end:
            connection.read_response()
        assert end.value.received == b"the first part"
    assert server.get("/").status == 200


@each_style
@asgi_only
@pytest.mark.parametrize("kind", ["unknown", "body first", "start twice"])
def test_message_out_of_turn(server: Server, kind: str, token: str) -> None:
    """send() raises in the application, which fails with it."""
    assert_500(server, f"/wrong-message?kind={kind.replace(' ', '+')}&token={token}")
    assert_logged(server, token)


@wsgi_only
@cases("when", everywhere=["nothing", "second part"], once=["first part", "close"])
def test_close_is_called_once(server: Server, when: str, token: str) -> None:
    with server.connect() as connection:
        connection.send(render("GET", f"/fail?when={when.replace(' ', '+')}&token={token}", "Connection: close"))
        connection.read_to_end()
    server.journal.wait_for(f"closed {token}")
    assert server.get("/").status == 200
    assert server.journal.count(f"closed {token}") == 1
