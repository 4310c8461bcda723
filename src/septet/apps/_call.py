"""One call of a WSGI application, from `start_response` to the last part of its answer (PEP 3333).

What the application says is checked here as far as Python is concerned, and by `http.head` as far as HTTP is: an answer
that may not be put on the wire raises, in the application or just after it, and becomes a 500.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from types import TracebackType
from typing import Any, BinaryIO

from septet.http.events import Exchange, Fields, FileRegion, Part, Response, ResponseHead, octets
from septet.http.head import interim_head, response_head, with_length

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Headers = Iterable[tuple[str, str]]


def _checked_head(status: str, headers: Headers) -> ResponseHead:
    if not isinstance(status, str):
        raise TypeError(f"a status is a string such as '200 OK', not {status!r}")
    code, _, reason = status.partition(" ")
    if len(code) != 3 or not code.isdecimal():
        raise ValueError(f"{status!r} is not a status such as '200 OK'")
    return response_head(int(code), _latin_1(reason), _encoded(headers))


_head = lru_cache(256)(_checked_head)


def _encoded(headers: Headers) -> Fields:
    return tuple((_latin_1(name), _latin_1(value)) for name, value in headers)


def _latin_1(text: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"names and values of header fields are strings, not {text!r}")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is not latin-1, as PEP 3333 has it") from None


class Call:
    """The application's `start_response`, its `write` and `early_hints`, and the answer that comes of them."""

    __slots__ = ("_kept", "exchange", "head", "wrote")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange: Exchange | None = exchange
        """None when the answer is complete: then it is the next request's, and what the application kept is void."""
        self.head: ResponseHead | None = None
        self.wrote = False
        """`write` was called."""
        self._kept: list[bytes] | None = None
        """What was written, where writing must not wait; so a failure can still be a 500."""

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if exc_info[1] is not None and (self.exchange is None or self.wrote or self.exchange.responding):
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # PEP 3333: no circular reference through the traceback
        elif self.head is not None:
            raise RuntimeError("start_response was called a second time without exc_info")
        try:
            self.head = _head(status, tuple(headers))
        except TypeError:  # pairs may be lists, which are no keys; or it is wrong, and will be told so
            self.head = _checked_head(status, headers)
        return self.write

    def early_hints(self, headers: Headers) -> None:
        """`wsgi.early_hints`, as gunicorn and puma have it: header fields of an interim answer 103 (RFC 8297)."""
        exchange = self.exchange
        if exchange is None or self.wrote or exchange.responding:
            raise RuntimeError("early hints come before the answer")
        exchange.inform(interim_head(103, _encoded(headers)))
        send = exchange.flush or exchange.hasten
        if send is not None:
            send()

    def write(self, data: bytes) -> None:
        """PEP 3333's imperative way. Where the application may wait, `data` has gone to the client on return."""
        exchange = self.exchange
        if exchange is None:
            raise RuntimeError("write was called after the answer was complete")
        content = octets(data)
        if not content:
            return
        self.wrote = True
        if exchange.responding:
            exchange.push(content, False)
        elif exchange.flush is not None:
            exchange.respond(self._started(), content, False)
        else:
            self._kept = [*(self._kept or ()), content]
        if exchange.flush:
            exchange.flush()

    def _started(self) -> ResponseHead:
        if self.head is None:
            raise RuntimeError("the application gave its answer before it called start_response")
        return self.head

    def response(self, iterable: Iterable[bytes]) -> Response:
        """The answer, with its first part that is not empty: until there is one, the status may still be changed."""
        if isinstance(iterable, FileWrapper) and not self.wrote:
            response = iterable.response(self, self._started())
            if response is not None:
                return response
        parts = Parts(self, iterable, getattr(iterable, "close", None))
        try:
            if self.wrote and self._kept is None:  # `write` has begun it
                return self._started(), b"", parts
            first = next(parts, b"")
            if self._kept is not None:
                first, self._kept = b"".join((*self._kept, octets(first))), None
                return self._started(), first, parts
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


class Parts:
    """The parts that are not empty, and the iterable's `close`, called once."""

    __slots__ = ("_call", "_close", "_iterator")

    def __init__(self, call: Call, iterable: Iterable[Part], close: Callable[[], None] | None) -> None:
        self._call = call
        self._close = close
        self._iterator = iter(iterable)

    def __iter__(self) -> Iterator[Part]:
        return self

    def __next__(self) -> Part:
        for part in self._iterator:
            if part or type(part) is not bytes:  # what is no bytes at all is refused where it would be sent
                return part
        raise StopIteration

    def close(self) -> None:
        self._call.exchange = None
        close, self._close = self._close, None
        if close is not None:
            close()


class FileWrapper:
    """`wsgi.file_wrapper`: a regular file goes by sendfile(2), anything else in blocks of what `read` gives."""

    def __init__(self, filelike: BinaryIO, block_size: int = 8192) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close: Any = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.filelike.read(self.block_size), b"")

    def response(self, call: Call, head: ResponseHead) -> Response | None:
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
        return head, FileRegion(descriptor, offset, count), Parts(call, (), getattr(self, "close", None))
