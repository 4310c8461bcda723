"""A request for a file of a directory, parsed once for all requests with the same head."""

from dataclasses import dataclass

from septet.apps.static.codings import Accepted, read_accepted
from septet.apps.static.conditions import Conditions, read_conditions
from septet.apps.static.ranges import Spec, read_ranges
from septet.exchange import Request

INDEX = b"index.html"
"""The file that is served for a directory."""

_FIELDS = frozenset(
    (
        b"accept-encoding",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    )
)


@dataclass(frozen=True, slots=True, eq=False)
class FileRequest:
    """A GET or HEAD for a file."""

    name: bytes
    """The file's name, percent-decoded, relative to the directory that is served. For a path that ends with a slash it
    is the name of the file INDEX in that directory.
    """
    content: bool
    """True for GET, False for HEAD."""
    accepted: Accepted
    conditions: Conditions | None
    ranges: tuple[Spec, ...] | None
    simple: bool
    """True in the usual case: no conditions, no ranges, and the uncompressed file is acceptable."""


def read_request(request: Request, name: bytes) -> FileRequest | None:
    """Parse a GET or HEAD for `name`, a decoded path. None if no file can have this name."""
    if b"\0" in name or name.startswith(b"/"):
        return None
    said: dict[bytes, bytes] = {}
    for field, value in request.fields:
        if field in _FIELDS:  # RFC 9110 section 5.3; a field that is no list becomes malformed by this
            said[field] = said[field] + b", " + value if field in said else value
    accepted = read_accepted(said.pop(b"accept-encoding", None))
    conditions = read_conditions(said) if said else None
    # RFC 9110 section 14.2: Range applies to GET only.
    ranges = read_ranges(said[b"range"]) if b"range" in said and request.method == "GET" else None
    if not name or name.endswith(b"/"):
        name += INDEX
    simple = conditions is None and ranges is None and accepted.identity
    return FileRequest(name, request.method == "GET", accepted, conditions, ranges, simple)
