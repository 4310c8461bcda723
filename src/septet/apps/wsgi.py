"""WSGI (PEP 3333): a callable that takes an environment and returns an iterable of bytes.

The part of the environment that depends on a request's head alone is cached with the head, if the head itself is cached
for later requests (`Request.derived`). So a request whose head comes again costs a copy of a dictionary and the call.
"""

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from septet.apps import _tls as tls
from septet.apps._call import Call, FileWrapper, delivery_of
from septet.apps._diagnostics import WITH_WSGI, warn_of_websocket
from septet.exchange import ClientGone, Exchange, Fields, Request, Response
from septet.http.cache import shared_texts

Environ = dict[str, Any]

READ_SIZE = 65536

REMEMBERED_SERVERS = 64
"""Most addresses of this server for which the environment of one request head is cached. A listener on all addresses
accepts clients at every address of the machine, and these may be a whole network's.
"""

REMEMBERED_NAMES = 1024
"""Most header field names for which the name of the CGI variable (`HTTP_ACCEPT` for `accept`) is cached."""
REMEMBERED_NAME = 256
"""Bytes. For a header field name that is longer than this, the name of the CGI variable is not cached."""

_UNIX = "localhost", "80"
"""SERVER_NAME and SERVER_PORT on a unix socket: PEP 3333 forbids empty values."""


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
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": multithread,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
        }
        self._bases: dict[tuple[str, int | None], Environ] = {}

    def __call__(self, exchange: Exchange) -> Response:
        request = exchange.request
        if request.derived is None:
            environ: Environ = self._of_head(request, exchange.server)
        else:
            template = request.derived.get(exchange.server)
            if template is None:
                if len(request.derived) > REMEMBERED_SERVERS:
                    request.derived.clear()
                template = request.derived[exchange.server] = self._of_head(request, exchange.server)
            environ = template.copy()
        client = request.client or exchange.client
        if client:
            environ["REMOTE_ADDR"], port = client
            if port:
                environ["REMOTE_PORT"] = str(port)
        if exchange.tls is not None:
            environ.update(tls.environ(exchange.tls))
        call = Call(exchange)
        if not request.has_body:
            environ["wsgi.input"] = io.BytesIO()
        elif exchange.body is not None:
            environ["wsgi.input"] = exchange.body
        else:
            environ["wsgi.input"] = _Reader(_Incoming(call), READ_SIZE)
        environ["wsgi.early_hints"] = call.early_hints
        try:
            iterable = self._application(environ, call.start_response)
            if type(iterable) is list and len(iterable) == 1 and call.head is not None and not call.wrote:
                call.exchange = None
                if call.others is not None:
                    call.others.await_all(delivery_of(exchange))
                if not call.wrote:  # by another thread meanwhile
                    return call.head, iterable[0], None
            return call.response(iterable)
        except BaseException:
            call.end()
            raise

    def _of_head(self, request: Request, server: tuple[str, int | None]) -> Environ:
        """Return the part of an environment that depends on the request's head and on `server`, the address of the
        server at which the request came in (PEP 3333, CGI 1.1).
        """
        base = self._bases.get(server) or self._base_at(server)
        environ = base.copy()
        fields = request.fields
        keys, text_of = _keys, shared_texts.get
        try:
            for name, value in fields:
                environ[keys[name]] = text_of(value) or value.decode("latin-1")
        except KeyError:  # a name that comes for the first time
            for name, value in fields:
                environ[_key(name)] = value.decode("latin-1")
        if len(environ) < len(base) + len(fields):
            environ.update(_joined(fields))
        if request.upgrade is not None:
            warn_of_websocket(request, WITH_WSGI)
        if "HTTP_PROXY" in environ:  # HTTP clients in the application would use it as their proxy (CVE-2016-5385)
            del environ["HTTP_PROXY"]
        environ["REQUEST_METHOD"] = request.method
        environ["SERVER_PROTOCOL"] = "HTTP/" + request.version
        environ["wsgi.url_scheme"] = request.scheme
        environ["RAW_URI"] = environ["REQUEST_URI"] = target = request.target.decode("latin-1")
        environ["QUERY_STRING"] = request.query.decode("latin-1") if request.query else ""
        path = target if request.path is request.target else request.path.decode("latin-1")
        if "%" in path:
            path = unquote_to_bytes(path).decode("latin-1")
        elif path == "*":  # about the server as a whole: its URL has no path (RFC 9112 section 3.2.4)
            path = "/"
        environ["PATH_INFO"] = path
        return environ

    def _base_at(self, server: tuple[str, int | None]) -> Environ:
        """Return the part of an environment that all requests to one address of the server share."""
        name, port = (server[0], str(server[1])) if server[1] else _UNIX
        if ":" in name:
            name = f"[{name}]"  # RFC 3875 section 4.1.14: it is the host of URLs, which PEP 3333 has applications build
        if len(self._bases) >= REMEMBERED_SERVERS:
            self._bases.clear()
        base = self._bases[server] = self._base | {"SERVER_NAME": name, "SERVER_PORT": port}
        return base


def _joined(fields: Fields) -> Environ:
    """Return the environment variables of header fields, some of which come more than once: their values are joined by
    a comma (RFC 9110 section 5.3), those of cookies by a semicolon (RFC 6265 section 5.4).
    """
    variables: Environ = {}
    for name, value in fields:
        key, text = _key(name), value.decode("latin-1")
        if key in variables and key != "CONTENT_LENGTH":
            text = variables[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
        variables[key] = text
    return variables


_keys = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}
"""Cache of the CGI variables' names, by the field's name in lower case. Begun anew when it is full, except for the
first two. (A plain dict, because CPython reads that in half the time of a subclass.)
"""


def _key(name: bytes) -> str:
    """Return the name of the CGI variable of a field, and cache it."""
    key = _keys.get(name)
    if key is None:
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        if len(_keys) >= REMEMBERED_NAMES:
            for old in list(_keys)[2:]:
                _keys.pop(old, None)
        if len(name) <= REMEMBERED_NAME:
            _keys[name] = key
    return key


class _Incoming(io.RawIOBase):
    """The body of a request as it comes, for `_Reader`: waits for it.

    Reading raises ClientGone if the client is gone. After the answer is complete it raises ValueError, as a closed file
    does: the next bytes belong to the next request.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._left = b""
        self.given = 0
        """Number of bytes that the reader has got."""
        self.lost = False
        """True if the reader has dropped bytes (see `_counted`): then the rest is not read as if it were all."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        others, exchange = self._call.enter(reads=True)
        try:
            if exchange is None:
                raise ValueError("wsgi.input was read after the answer was complete")
            if self.lost:
                raise OSError("an exception has interrupted an earlier read, and what that had read is lost")
            if not self._left:
                with delivery_of(exchange).turn:
                    self._left = exchange.read()
            data = self._left
            count = min(len(buffer), len(data))
            buffer[:count] = data[:count]
        finally:
            others.leave(True)
        self.given += count
        self._left = data[count:]  # last: after an exception before, such as a MemoryError, all of it is read again
        return count


def _counted(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method `read` of a reader, which counts the bytes that it returns. So it is known whether bytes are
    lost if an exception comes meanwhile, of a signal handler with a time limit perhaps: those that were in the reader's
    buffer, or have come since it was called. An exception that came while nothing had is no loss.
    """

    def counted(reader: "_Reader", *arguments: Any) -> Any:
        try:
            found = read(reader, *arguments)
            reader.returned += found if type(found) is int else len(found)
        except ClientGone:
            raise
        except BaseException:
            reader.raw.lost = reader.raw.lost or reader.raw.given > reader.returned
            raise
        return found

    return counted


class _Reader(io.BufferedReader):
    """`wsgi.input` of a request whose body may still be on its way."""

    raw: Any
    returned = 0
    """Number of bytes that the application has got."""

    read = _counted(io.BufferedReader.read)
    read1 = _counted(io.BufferedReader.read1)
    readinto = _counted(io.BufferedReader.readinto)
    readinto1 = _counted(io.BufferedReader.readinto1)
    readline = _counted(io.BufferedReader.readline)  # iterators and readlines call it, too
