"""The WSGI application called directly: what servers other than ours may offer, withhold or get wrong."""

import io
from collections.abc import Iterable
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from septet.examples.guestbook.form import BODY_LIMIT, MEDIA_TYPE
from septet.examples.guestbook.wsgi_app import application

STYLE = "/guestbook/static/style.css"


class Call:
    """One call of the application; none of these tests gets as far as the store."""

    def __init__(self, method: str, path: str, **environ: Any) -> None:
        self.environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, **environ}
        setup_testing_defaults(self.environ)
        self.parts: Iterable[bytes] = application(self.environ, self._start_response)
        self.body = b"".join(self.parts)
        if hasattr(self.parts, "close"):
            self.parts.close()

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self.status = int(status.split()[0])
        self.headers = dict(headers)


def post(body: bytes, **environ: Any) -> Call:
    return Call("POST", "/guestbook", CONTENT_TYPE=MEDIA_TYPE, **{"wsgi.input": io.BytesIO(body), **environ})


def test_a_file_is_sent_by_the_servers_wrapper_if_it_has_one() -> None:
    with_wrapper = Call("GET", STYLE, **{"wsgi.file_wrapper": FileWrapper})
    without = Call("GET", STYLE)
    assert isinstance(with_wrapper.parts, FileWrapper)
    assert with_wrapper.body == without.body
    assert len(without.body) == int(without.headers["Content-Length"])


def test_a_head_answer_has_no_body_even_where_the_server_does_not_see_to_it() -> None:
    head = Call("HEAD", STYLE)
    assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize("length", ["ten", "-1", "١", "5 "])
def test_a_length_that_is_no_number_is_400(length: str) -> None:
    assert post(b"name=", CONTENT_LENGTH=length).status == 400


def test_a_body_shorter_than_its_length_is_400() -> None:
    assert post(b"name=a&remark=b", CONTENT_LENGTH="16").status == 400


def test_too_large_a_length_is_413_before_anything_is_read() -> None:
    call = post(b"x" * (BODY_LIMIT + 1), CONTENT_LENGTH=str(BODY_LIMIT + 1))
    assert call.status == 413
    assert call.environ["wsgi.input"].tell() == 0


def test_a_body_without_length_is_read_only_where_it_is_sure_to_end() -> None:
    stream = io.BytesIO(b"x" * (BODY_LIMIT + 2))
    assert post(b"", **{"wsgi.input": stream}).status == 400
    assert stream.tell() == 0
    assert post(b"", **{"wsgi.input": stream, "wsgi.input_terminated": True}).status == 413
    assert stream.tell() == BODY_LIMIT + 1
