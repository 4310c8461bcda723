"""What a request's head asks of a directory. Read once for all requests with the same head, which are one object."""

from dataclasses import dataclass

from septet.apps.static.codings import Accepted, read_accepted
from septet.apps.static.conditions import Conditions, read_conditions
from septet.apps.static.ranges import Spec, read_ranges
from septet.exchange import Request

INDEX = b"index.html"
"""What stands for a directory."""

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
    name: bytes
    """Decoded, and relative to the directory; that of the index, where a directory is asked for."""
    content: bool
    """False: the head of the answer will do."""
    accepted: Accepted
    conditions: Conditions | None
    ranges: tuple[Spec, ...] | None
    simple: bool
    """It asks for all of a file as it is, unconditionally."""


def read_request(request: Request, name: bytes) -> FileRequest | None:
    """What a GET or HEAD for `name`, a decoded path, asks; None for one that no file can have."""
    if b"\0" in name or name.startswith(b"/"):
        return None
    said: dict[bytes, bytes] = {}
    for field, value in request.fields:
        if field in _FIELDS:  # RFC 9110 section 5.3; of a field that is no list, two values make a malformed one
            said[field] = said[field] + b", " + value if field in said else value
    accepted = read_accepted(said.pop(b"accept-encoding", None))
    conditions = read_conditions(said) if said else None
    # RFC 9110 section 14.2: a range means something to GET alone.
    ranges = read_ranges(said[b"range"]) if b"range" in said and request.method == "GET" else None
    if not name or name.endswith(b"/"):
        name += INDEX
    simple = conditions is None and ranges is None and accepted.identity
    return FileRequest(name, request.method == "GET", accepted, conditions, ranges, simple)
