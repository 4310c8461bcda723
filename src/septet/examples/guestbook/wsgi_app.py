"""The guestbook as a WSGI application (PEP 3333), with a blocking store."""

import atexit
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from http import HTTPStatus
from io import FileIO
from wsgiref.types import StartResponse, WSGIEnvironment

from septet.examples.guestbook import form, site
from septet.examples.guestbook.book import StoreUnavailable, Visit
from septet.examples.guestbook.page import REMARKS_SHOWN, Press
from septet.examples.guestbook.store import open_store

_log = logging.getLogger("septet.examples.guestbook")
_store = open_store()
_press = Press()

# WSGI says nothing to an application when its server ends. Without this a lone process would leave SQLite's log
# behind for the next one to read, which is harmless, only untidy.
atexit.register(_store.close)

FILE_BLOCK_SIZE = 64 * 1024  # bytes, where the server offers no wsgi.file_wrapper


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request, as a WSGI application; may run in any thread of any process, and after a fork."""
    response = _respond(environ)
    start_response(_status_line(response.status), list(response.headers))
    if environ["REQUEST_METHOD"] == "HEAD":
        return []
    if isinstance(response.body, bytes):
        return [response.body]
    wrapper: Callable[[FileIO, int], Iterable[bytes]] = environ.get("wsgi.file_wrapper", FileBlocks)
    return wrapper(response.body, FILE_BLOCK_SIZE)


class FileBlocks:
    """An open file as an iterable of blocks. The server closes the file by calling `close` (PEP 3333, "Optional
    Platform-Specific File Handling").
    """

    def __init__(self, file: FileIO, block_size: int) -> None:
        self._file = file
        self._block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        while block := self._file.read(self._block_size):
            yield block

    def close(self) -> None:
        self._file.close()


def _respond(environ: WSGIEnvironment) -> site.Response:
    if_none_match = environ.get("HTTP_IF_NONE_MATCH", "")
    step = site.decide(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), if_none_match)
    if isinstance(step, site.Response):
        return step
    try:
        return _take(step, environ)
    except form.FormError as error:
        return site.form_refused(error)
    except StoreUnavailable as error:
        _log.error("%s", error)
        return site.store_unavailable()


def _take(step: site.Step, environ: WSGIEnvironment) -> site.Response:
    match step:
        case site.Step.VIEW:
            return _view(_store.count_view())
        case site.Step.PEEK:
            return _view(_store.peek())
        case site.Step.LEAVE:
            body = _read_body(environ)
            _store.add(form.parse(environ.get("CONTENT_TYPE", ""), body, int(time.time())))
            return site.remark_kept()


def _view(visit: Visit) -> site.Response:
    printed = _press.find(visit.edition) or _press.print(visit.edition, _store.latest(REMARKS_SHOWN))
    return site.view(printed, visit.views)


def _read_body(environ: WSGIEnvironment) -> bytes:
    """Return the request's body; raises FormError where it is too large or ends early.

    Without a length it may be read to its end only if the server says so (a chunked body; the widespread extension
    `wsgi.input_terminated`): elsewhere reading would wait for the client for ever.
    """
    stated = environ.get("CONTENT_LENGTH") or ""
    if not stated:
        body = _read(environ, form.BODY_LIMIT + 1) if environ.get("wsgi.input_terminated") else b""
        if len(body) > form.BODY_LIMIT:
            raise form.too_large()
        return body
    if not (stated.isascii() and stated.isdigit()):
        raise form.incomplete()
    if int(stated) > form.BODY_LIMIT:
        raise form.too_large()
    body = _read(environ, int(stated))
    if len(body) < int(stated):
        raise form.incomplete()
    return body


def _read(environ: WSGIEnvironment, size: int) -> bytes:
    """Read `size` bytes, or all there are before the end; one call of the stream's `read` may return fewer."""
    stream = environ["wsgi.input"]
    blocks = []
    while size > 0 and (block := stream.read(size)):
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


@cache
def _status_line(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
