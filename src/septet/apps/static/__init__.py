"""Static files: a directory of the machine at a route of the site (RFC 9110 sections 8.8, 12.5.3, 13, 14).

The head of a request is parsed once, and the result kept with the head (`file_request`). For every request the file is
found, or a remembered one is checked (`files`), inside a directory that no path can leave (`tree`). The rest is RFC
9110: which representation is sent (`codings`, `media`), whether it is sent at all (`conditions`), which parts of it
(`ranges`), and the answer (`answers`).
"""

import os
import time
from collections.abc import Callable
from urllib.parse import quote_from_bytes, unquote_to_bytes

from septet.apps.static.answers import answer, plain
from septet.apps.static.file_request import FileRequest, read_request
from septet.apps.static.files import IN_MEMORY, Changed, Files, is_absence
from septet.apps.static.tree import Tree
from septet.exchange import Exchange, Request, Response
from septet.http.head import response_head

__all__ = ["ALLOW", "IN_MEMORY", "Static", "plain"]

ATTEMPTS = 3
"""Most attempts to examine and open a file that changes while this is done; after that the answer is 503."""

ALLOW = ((b"Allow", b"GET, HEAD, OPTIONS"),)


class Static:
    """Serves the files below `directory` at the paths below `route`, which begins and ends with a slash.

    Paths are compared percent-decoded: otherwise `/st%61tic/x` would reach the application, which sees it as
    `/static/x` (RFC 3986 section 6.2.2.2). So `route` must be decoded as well.

    Args:
        cache_control: value of the field Cache-Control; "" for none.
        clock: returns nanoseconds since 1970.
        before: the beginning of the URL's path that a proxy has removed, percent-decoded; redirects put it back.
    """

    def __init__(
        self,
        route: str,
        directory: str,
        cache_control: str = "",
        clock: Callable[[], int] = time.time_ns,
        before: bytes = b"",
    ) -> None:
        self._route = os.fsencode(route.rstrip("/")) + b"/"
        self.received = self._route[:-1]
        """The beginning of the paths that this directory serves: its route without the slash at the end."""
        self._before = quote_from_bytes(before).encode("ascii")
        self._files = Files(Tree(directory), cache_control.encode("ascii"), clock)

    def serves(self, path: bytes) -> bool:
        """True if this directory answers requests for `path`, as it is in the request line."""
        if b"%" in path:
            path = unquote_to_bytes(path)
        return path.startswith(self._route) or path == self._route[:-1]

    def __call__(self, exchange: Exchange) -> Response:
        request = exchange.request
        wanted = request.derived.get(self) if request.derived is not None else None
        if wanted is None:
            wanted = self._read(request)
            if not isinstance(wanted, FileRequest):
                return wanted
            if request.derived is not None:
                request.derived[self] = wanted
        for _ in range(ATTEMPTS):
            try:
                resource = self._files.find(wanted.name)
                sole = resource.sole
                if wanted.simple and sole is not None and sole.content is not None:
                    return sole.whole
                return answer(wanted, resource, self._files.open)
            except Changed:
                continue
            except IsADirectoryError:
                return _redirect(request, self._before)
            except OSError as error:
                if is_absence(error):
                    return plain(404)
                raise  # for example EMFILE: the file exists, and caches must not store a 404
        return plain(503, ((b"Retry-After", b"1"),))

    def _read(self, request: Request) -> FileRequest | Response:
        """Return the parsed request; or the answer to it, if that does not depend on the files."""
        if request.method == "OPTIONS":
            return response_head(204, b"No Content", ALLOW), b"", None
        if request.method not in ("GET", "HEAD"):
            return plain(405, ALLOW)
        path = unquote_to_bytes(request.path)
        if not path.startswith(self._route):
            return _redirect(request, self._before)
        return read_request(request, path[len(self._route) :]) or plain(404)


def _redirect(request: Request, before: bytes) -> Response:
    """Redirect to the directory's path with a slash at its end, so that relative links in its index work."""
    # One slash only in front: `//host/` would lead to another host, and browsers treat a backslash as a slash.
    location = before + b"/" + request.path.lstrip(b"/\\") + b"/"
    if request.query:
        location += b"?" + request.query
    return plain(301, ((b"Location", location),))
