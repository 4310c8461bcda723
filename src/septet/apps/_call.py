"""One call of a WSGI application, from `start_response` to the last part of its answer (PEP 3333).

This module checks the Python types that the application uses, `http.head` checks the HTTP. An invalid answer raises,
inside the application or just after it has returned, and becomes a 500.
"""

from collections.abc import Callable, Iterable, Iterator
from threading import RLock, get_ident
from types import TracebackType
from typing import Any, BinaryIO

from septet.apps._files import region_of_rest
from septet.apps._other_threads import OtherThreads
from septet.exchange import ClientGone, Delivery, Exchange, Fields, Part, Response, ResponseHead, octets
from septet.http.cache import BoundedCache
from septet.http.head import response_head, with_length

SURPLUS_BYTES = 1 << 20
"""Bytes that an application may still give after the client has its whole answer (the request was a HEAD, say, or the
Content-Length is reached); they are dropped. After that the application gets ClientGone, an OSError: otherwise an
endless application would run for ever.
"""

PART_BYTES = 64
"""Bytes that are added to the size of each part that an application gives after the end of its answer, when these parts
are counted against SURPLUS_BYTES. Without them an application that endlessly gives empty parts would never reach that
bound.
"""

_making = RLock()
"""Held while `Call.others` is set: two threads may want it at the same time, and so may an object of the
application's that the garbage collector finds meanwhile, in the same thread."""

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Headers = Iterable[tuple[str, str]]


def _checked_head(status: str, headers: Headers) -> ResponseHead:
    if not isinstance(status, str):
        raise TypeError(f"a status is a string such as '200 OK', not {status!r}")
    code, _, reason = status.partition(" ")
    if len(code) != 3 or not code.isdecimal():
        raise ValueError(f"{status!r} is not a status such as '200 OK'")
    return response_head(int(code), _latin_1(reason), _encoded(headers))


_heads: BoundedCache[tuple[str, Headers], ResponseHead] = BoundedCache(256)
"""Cache of checked heads, by the status and headers that `start_response` was given. Only plain strings are cached: an
object of a class of the application's own would be kept alive, and its `__eq__` would be called for other requests.
"""


def _new_head(status: str, headers: tuple[tuple[str, str], ...]) -> ResponseHead:
    head = _checked_head(status, headers)
    if type(status) is str and all(type(name) is type(value) is str for name, value in headers):
        _heads.add((status, tuple((name, value) for name, value in headers)), head)
    return head


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
    """The `start_response`, `write` and `early_hints` of one call of the application, and the answer that they make."""

    __slots__ = ("_surplus", "exchange", "head", "iterated_in", "others", "wrote")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange: Exchange | None = exchange
        """The exchange that the application answers. None when the answer is complete, because the session then goes on
        to the connection's next request: `write` and `wsgi.input` raise if the application still uses them.
        """
        self.head: ResponseHead | None = None
        self.others: OtherThreads | None = None
        """The threads that are inside `write`, `early_hints` or `wsgi.input`; None: these were not used yet."""
        self.iterated_in: int | None = None
        """The thread that sends the parts of the application's iterable, since the application has returned; from then
        on no other thread may send.
        """
        self.wrote = False
        """True once the application has sent content by `write`; `start_response` can then no longer replace the
        head.
        """
        self._surplus = 0
        """Bytes that the application has passed to `write` after the client had its whole answer; bounded by
        SURPLUS_BYTES.
        """

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
            key = status, tuple(headers)
            self.head = _heads.get(key) or _new_head(*key)
        except TypeError:  # not hashable: pairs may be lists; or of a wrong type, which _checked_head reports
            self.head = _checked_head(status, headers)
        return self.write

    def early_hints(self, headers: Headers) -> None:
        """The environment's `wsgi.early_hints`, as in gunicorn and puma: send an interim answer 103 with these header
        fields (RFC 8297). Raises RuntimeError if the answer has begun.
        """
        fields = _encoded(headers)  # first, because an iterator of the application may wait
        others, exchange = self.enter()
        try:
            with others.sending:
                if exchange is None or exchange.responding:
                    raise RuntimeError("early hints come before the answer")
                self._check_given_up(others)
                delivery_of(exchange).inform(103, fields)
        finally:
            others.leave(False)

    def write(self, data: bytes) -> None:
        """Send `data` (PEP 3333, "The write() Callable"). On return it has been sent, or is sent while the application
        runs on.

        Raises ClientGone if the client cannot be reached, and when more than SURPLUS_BYTES were given after the end of
        the answer.
        """
        others, exchange = self.enter()
        try:
            if exchange is None:
                raise RuntimeError(
                    "write was called after the answer was complete, or by another thread after the call"
                )
            with others.sending:
                self._check_given_up(others)
                self._write(exchange, octets(data))
        finally:
            others.leave(False)

    @staticmethod
    def _check_given_up(others: OtherThreads) -> None:
        """Raise ClientGone if the thread has waited for another one that sends, until the answer was broken off: the
        exchange may be the next request's.
        """
        if others.given_up:
            raise ClientGone("the answer was broken off, because other threads have not ceased to send")

    def _write(self, exchange: Exchange, content: bytes) -> None:
        if not content:
            delivery_of(exchange).check_client()
            return
        self.wrote = True
        if exchange.content_ended:
            self._surplus += len(content) + PART_BYTES
            if self._surplus > SURPLUS_BYTES:
                raise ClientGone("nothing more of this answer is wanted")
            return
        head = None if exchange.responding else self._started()
        delivery_of(exchange).deliver(head, content, False)

    def enter(self, reads: bool = False) -> tuple[OtherThreads, Exchange | None]:
        """Called by a thread that is about to send, or to read the request's body; afterwards it calls `leave` of what
        this returns. The exchange is None if the thread may not do so: the answer is complete, or another thread sends
        the rest of it.
        """
        if self.others is None:
            with _making:
                if self.others is None:
                    self.others = OtherThreads()
        others = self.others
        with others.changed:
            others.enter(reads)
            late = not reads and self.iterated_in is not None and self.iterated_in != get_ident()
            return others, None if late else self.exchange

    def end(self) -> None:
        """Separate the application from its exchange, because the answer's content is complete. Another thread that
        still sends or reads leaves first.
        """
        exchange, self.exchange = self.exchange, None
        if self.others is not None and exchange is not None:
            self.others.await_all(delivery_of(exchange))

    def _started(self) -> ResponseHead:
        if self.head is None:
            raise RuntimeError("the application gave its answer before it called start_response")
        return self.head

    def response(self, iterable: Iterable[bytes]) -> Response:
        """Return the answer that the application's iterable gives: the head, the first part that is not empty, and an
        iterator of the parts after it. The application may change the status until it has given that first part.

        Raises what the application raises, after closing the iterable.
        """
        parts = IterableParts(self, getattr(iterable, "close", None))
        self.iterated_in = get_ident()
        try:
            if self.others is not None and self.exchange is not None:
                self.others.await_senders(delivery_of(self.exchange))
            if isinstance(iterable, FileWrapper) and not self.wrote:
                response = iterable.response(parts, self._started())
                if response is not None:
                    return response
            parts.iterator = iter(iterable)
            if self.wrote:
                return self._started(), b"", parts
            first = self._first(parts.iterator)
            if self.wrote:  # by the iterable: PEP 3333 forbids it, and Mercurial's archives do it
                return self._started(), first, parts
            if not first or _is_single(iterable):
                parts.whole = True
                self.end()
            return self._started(), first, parts
        except BaseException:
            parts.close()
            raise

    def _first(self, iterator: Iterator[Part]) -> Part:
        """Return the first part that is not empty; `b""` if there is none. Raises ClientGone if the client leaves
        meanwhile.
        """
        for part in iterator:
            if part or type(part) is not bytes:  # a part of a wrong type is refused where it would be sent
                return part
            if self.exchange is None or self.exchange.lost:
                raise ClientGone("the client went away")
            delivery_of(self.exchange).check_client()
        return b""


def delivery_of(exchange: Exchange) -> Delivery:
    """Return `exchange.delivery`, through which a WSGI application sends and receives before it has returned. Every
    exchange that a WSGI application answers has one.
    """
    assert exchange.delivery is not None, "an application that is called has a delivery"
    return exchange.delivery


def _is_single(iterable: Iterable[bytes]) -> bool:
    """True if `len(iterable)` is 1: the answer has one part, so its length is known (PEP 3333, "Handling the
    Content-Length Header").
    """
    try:
        return len(iterable) == 1  # type: ignore[arg-type]
    except TypeError:
        return False


class IterableParts:
    """The parts of an application's iterable that follow the first, as a `ResponseParts`: the server takes one after
    the other and sends it. `close` closes the iterable, only once even if it is called again.
    """

    __slots__ = ("_call", "_close", "iterator", "whole")

    def __init__(self, call: Call, close: Callable[[], None] | None) -> None:
        self._call = call
        self._close = close
        self.iterator: Iterator[Part] = iter(())
        self.whole = False

    def __next__(self) -> Part:
        return next(self.iterator)

    def detach(self) -> None:
        self._call.end()

    def close(self) -> None:
        self._call.end()
        close, self._close = self._close, None
        if close is not None:
            close()


class FileWrapper:
    """`wsgi.file_wrapper`: sends a regular file by sendfile(2), and any other file-like object in blocks that its
    `read` returns.
    """

    def __init__(self, filelike: BinaryIO, block_size: int = 8192) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close: Any = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return self  # it has a `close`, for code that wraps the iterator

    def __next__(self) -> bytes:
        block = self.filelike.read(self.block_size)
        if type(block) is bytes and not block:  # an empty text is refused where it would be sent
            raise StopIteration
        return block

    def response(self, parts: IterableParts, head: ResponseHead) -> Response | None:
        """Return the answer whose content is the file from its position to its end, but no more bytes than
        Content-Length says, sent by sendfile(2). None if the file cannot be sent in this way, but must be read.
        """
        region = region_of_rest(self.filelike)
        if region is None:
            return None
        if head.content_length is None:
            head = with_length(head, region.count)
        elif head.content_length < region.count:
            region.count = head.content_length
        parts.whole = True
        parts.detach()
        return head, region, parts
