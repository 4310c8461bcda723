"""WSGI (PEP 3333): a callable that is given an environment and gives an iterable of bytes.

What depends on the head of a request alone is made once for each distinct head and kept beside it, so the common
request costs a copy of a dictionary and the call.
"""

import io
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from types import TracebackType
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from septet.http.events import Exchange, FileRegion, Part, Request, Response, ResponseHead
from septet.http.head import response_head, with_length

Environ = dict[str, Any]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

READ_SIZE = 65536

_UNIX = "localhost", "80"
"""What stands for name and port on a unix socket: PEP 3333 has it that neither is ever empty."""

_UNPREFIXED = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


class Wsgi:
    """A WSGI application as a function from an exchange to a `Response`.

    `multithread` and `multiprocess` say whether other threads or processes may run the application at the same time.
    """

    def __init__(
        self, application: Callable[..., Iterable[bytes]], *, multithread: bool = False, multiprocess: bool = False
    ) -> None:
        self._application = application
        self._base: Environ = {
            "SCRIPT_NAME": "",
            "SERVER_SOFTWARE": "septet",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": multithread,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
        }

    def __call__(self, exchange: Exchange) -> Response:
        request = exchange.request
        try:
            environ: Environ = request.derived[self].copy()
        except KeyError:
            template = request.derived[self] = self._base | _from_head(request)
            environ = template.copy()
        host, port = exchange.server
        environ["SERVER_NAME"], environ["SERVER_PORT"] = (host, str(port)) if port else _UNIX
        if exchange.client:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = exchange.client[0], str(exchange.client[1])
        if not request.has_body:
            environ["wsgi.input"] = io.BytesIO()
        elif exchange.body is not None:
            environ["wsgi.input"] = exchange.body
        else:
            environ["wsgi.input"] = io.BufferedReader(_Incoming(exchange), READ_SIZE)
        call = _Call(exchange)
        iterable = self._application(environ, call.start_response)
        if type(iterable) is list and len(iterable) == 1 and call.head is not None and not call.wrote:
            return call.head, iterable[0], None
        return call.response(iterable)


def _from_head(request: Request) -> Environ:
    """The part of an environment that depends on the request's head alone (PEP 3333, CGI 1.1)."""
    environ: Environ = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query.decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "RAW_URI": request.target.decode("latin-1"),
        "REQUEST_URI": request.target.decode("latin-1"),
    }
    for name, value in request.fields:
        if name == b"proxy":  # HTTP_PROXY is a variable that clients obey (CVE-2016-5385)
            continue
        key = _key(name)
        text = value.decode("latin-1")
        if key in environ and key != "CONTENT_LENGTH":
            # RFC 9110 section 5.3; cookies are joined by a sign of their own (RFC 6265 section 5.4).
            text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
        environ[key] = text
    return environ


@lru_cache(1024)
def _key(name: bytes) -> str:
    return _UNPREFIXED.get(name) or "HTTP_" + name.decode("latin-1").upper().replace("-", "_")


@lru_cache(256)
def _head(status: str, fields: tuple[tuple[str, str], ...]) -> ResponseHead:
    code, _, reason = status.partition(" ")
    if len(code) != 3 or not code.isdecimal():
        raise ValueError(f"{status!r} is not a status such as '200 OK'")
    try:
        encoded = tuple((name.encode("ascii"), value.encode("latin-1")) for name, value in fields)
        return response_head(int(code), reason.encode("latin-1"), encoded)
    except UnicodeEncodeError as error:
        raise ValueError(f"{error.object!r} is not latin-1, as PEP 3333 has it") from None


class _Call:
    """One call of the application: its `start_response`, its `write`, and the answer that came of them."""

    __slots__ = ("_exchange", "head", "wrote")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.head: ResponseHead | None = None
        self.wrote = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._exchange.responding and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # PEP 3333: no circular reference through the traceback
        elif self.head is not None:
            raise RuntimeError("start_response was called a second time without exc_info")
        self.head = _head(status, tuple(headers))
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333's imperative way. Where the application may wait, `data` has gone to the client on return."""
        if data:
            self._send(data)

    def _send(self, data: bytes) -> None:
        self.wrote = True
        exchange = self._exchange
        if exchange.responding:
            exchange.push(data, False)
        else:
            exchange.respond(self._started(), data, False)
        if exchange.flush:
            exchange.flush()

    def _started(self) -> ResponseHead:
        if self.head is None:
            raise RuntimeError("the application gave its answer before it called start_response")
        return self.head

    def response(self, iterable: Iterable[bytes]) -> Response:
        """The answer, with its first part that is not empty: until there is one, the status may still be changed."""
        if isinstance(iterable, FileWrapper) and not self._exchange.responding:
            response = iterable.response(self._started())
            if response is not None:
                return response
        parts = _Parts(iterable, getattr(iterable, "close", None))
        try:
            if self._exchange.responding:  # `write` has begun it
                return self._started(), b"", parts
            first = next(parts, b"")
            if first and not _is_single(iterable):
                return self._started(), first, parts
            parts.close()
            return self._started(), first, None
        except BaseException:
            parts.close()
            raise


def _is_single(iterable: Iterable[bytes]) -> bool:
    """A sequence of one part is the whole answer, so its length is known (PEP 3333, "Handling Content-Length")."""
    try:
        return len(iterable) == 1  # type: ignore[arg-type]
    except TypeError:
        return False


class _Parts:
    """The parts that are not empty, and the iterable's `close`, called once."""

    __slots__ = ("_close", "_iterator")

    def __init__(self, iterable: Iterable[Part], close: Callable[[], None] | None) -> None:
        self._close = close
        self._iterator = iter(iterable)

    def __iter__(self) -> Iterator[Part]:
        return self

    def __next__(self) -> Part:
        for part in self._iterator:
            if part:
                return part
        raise StopIteration

    def close(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            close()


class _Incoming(io.RawIOBase):
    """`wsgi.input` where the application may wait: it brings the body as it is read. Raises ClientGone."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._left or self._exchange.read()
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        self._left = data[count:]
        return count


class FileWrapper:
    """`wsgi.file_wrapper`: a regular file goes by sendfile(2), anything else in blocks of what `read` gives."""

    def __init__(self, filelike: BinaryIO, block_size: int = 8192) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.filelike.read(self.block_size), b"")

    def response(self, head: ResponseHead) -> Response | None:
        """The answer as a stretch of the file from where it stands; None if it is not a regular file."""
        try:
            descriptor = self.filelike.fileno()
            status = os.fstat(descriptor)
            offset = self.filelike.tell()
        except (AttributeError, OSError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        count = max(0, status.st_size - offset)
        if head.content_length is None:
            head = with_length(head, count)
        elif head.content_length < count:
            count = head.content_length
        return head, FileRegion(descriptor, offset, count), _Parts((), getattr(self, "close", None))
