"""Static files: a directory of the machine at a route of the site (RFC 9110 sections 8.8, 13 and 15.4.5).

A path leads to a file only if the file, with every link followed, lies in the directory: `..`, percent-encoding, NUL,
links that lead out, and neighbours whose names begin alike all end in 404.
"""

import calendar
import email.utils
import errno
import mimetypes
import os
import stat
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from septet.http.events import Exchange, Fields, FileRegion, Part, Request, Response
from septet.http.head import reason_phrase, response_head

IN_MEMORY: Final = 65536
"""Bytes up to which a file is read and sent with its head in one call; above it sendfile(2) is the cheaper way."""

NOT_FOUND = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.ENXIO})

_types = mimetypes.MimeTypes()
"""Python's own table, so that a type does not depend on the machine; and what old Pythons do not have in it."""

for _suffix, _type in {
    ".avif": "image/avif",
    ".js": "text/javascript",  # RFC 9239
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}.items():
    _types.add_type(_type, _suffix)


class Static:
    """Serves the files below `directory` at the paths below `route`, which begins and ends with a slash."""

    def __init__(self, route: str, directory: str) -> None:
        self._route = route.rstrip("/").encode() + b"/"
        self._directory = os.path.realpath(directory).encode()

    def serves(self, path: bytes) -> bool:
        """Whether a request for `path` is this directory's."""
        return path.startswith(self._route) or path == self._route[:-1]

    def __call__(self, exchange: Exchange) -> Response:
        request = exchange.request
        if request.method not in ("GET", "HEAD"):
            return self.plain(405, ((b"Allow", b"GET, HEAD"),))
        if not request.path.startswith(self._route):
            return self._redirect(request)
        name = unquote_to_bytes(request.path[len(self._route) :])
        path = os.path.realpath(os.path.join(self._directory, name)) if b"\0" not in name else b""
        if not _lies_in(path, self._directory) or name.startswith(b"/"):
            return self.plain(404)
        if os.path.isdir(path):
            if name and not name.endswith(b"/"):
                return self._redirect(request)
            path = os.path.realpath(os.path.join(path, b"index.html"))
        elif name.endswith(b"/"):
            return self.plain(404)
        if not _lies_in(path, self._directory):
            return self.plain(404)
        return self._file(request, path)

    def _redirect(self, request: Request) -> Response:
        """To the directory's own name, so that relative links in its index lead where they should."""
        # One slash only at its front: `//host/` would lead to another host.
        location = b"/" + request.path.lstrip(b"/") + b"/"
        if request.query:
            location += b"?" + request.query
        return self.plain(301, ((b"Location", location),))

    def _file(self, request: Request, path: bytes) -> Response:
        try:
            # Without O_NONBLOCK, opening a FIFO would wait for somebody to write to it.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in NOT_FOUND:
                return self.plain(404)
            raise  # out of descriptors, perhaps: the file is there, and nobody shall remember that it is not
        rest = _OpenFile(descriptor)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                rest.close()
                return self.plain(404)
            fields = _fields(os.fsdecode(path), status.st_mtime_ns, status.st_size)
            if _is_unchanged(request, fields):
                rest.close()
                return response_head(304, b"Not Modified", fields[:2]), b"", None
            head = response_head(200, b"OK", fields)
            if status.st_size > IN_MEMORY and request.method == "GET":
                return head, FileRegion(descriptor, 0, status.st_size), rest
            body = os.pread(descriptor, status.st_size, 0) if request.method == "GET" else b""
            rest.close()
            return head, body, None
        except BaseException:
            rest.close()
            raise

    @staticmethod
    def plain(status: int, fields: Fields = ()) -> Response:
        """An answer of a line of text."""
        reason = reason_phrase(status).encode("ascii")
        text = ((b"Content-Type", b"text/plain; charset=utf-8"),)
        return response_head(status, reason, text + fields), reason + b"\n", None


def _lies_in(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


@lru_cache(1024)
def _fields(path: str, modified_ns: int, size: int) -> Fields:
    """ETag and Last-Modified first: they are what a 304 repeats. The tag is strong: it names one state of one file."""
    tag = f'"{modified_ns:x}-{size:x}"'
    date = email.utils.formatdate(modified_ns // 10**9, usegmt=True)
    return (
        (b"ETag", tag.encode()),
        (b"Last-Modified", date.encode()),
        (b"Content-Type", _media_type(path).encode()),
        (b"Content-Length", b"%d" % size),
    )


def _media_type(path: str) -> str:
    kind, coding = _types.guess_type(path, strict=False)
    if coding:  # a compressed file is served as what it is, not as what it holds
        return "application/gzip" if coding == "gzip" else "application/octet-stream"
    if kind is None:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") or kind.endswith("javascript") else kind


def _is_unchanged(request: Request, fields: Fields) -> bool:
    """Whether the client has this state of the file (RFC 9110 section 13.2.2: the tag decides where there is one)."""
    asked = dict(request.fields)
    tags = asked.get(b"if-none-match")
    if tags is not None:
        known = [tag.strip(b" \t").removeprefix(b"W/") for tag in tags.split(b",")]
        return tags.strip(b" \t") == b"*" or fields[0][1] in known
    since = _seconds(asked.get(b"if-modified-since", b""))
    modified = _seconds(fields[1][1])
    return since is not None and modified is not None and modified <= since


def _seconds(date: bytes) -> float | None:
    """An HTTP date is always in GMT, whichever of its three forms it has (RFC 9110 section 5.6.7)."""
    parsed = email.utils.parsedate(date.decode("latin-1"))
    try:
        return None if parsed is None else calendar.timegm(parsed)
    except ValueError:  # a year that no calendar has
        return None


class _OpenFile:
    """Nothing more to send, and a descriptor to close when it has been."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __next__(self) -> Part:
        raise StopIteration

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
