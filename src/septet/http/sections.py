"""Header sections: field lines, and what they say of the body and the connection (RFC 9112 sections 5 and 6).

Every section is read anew, line by line. A line that many requests have in the same bytes (Accept, Sec-Fetch-Mode)
is parsed once, and so is a list of names. Nothing else is taken over from one request to the next.
"""

from collections.abc import Callable
from operator import itemgetter

from septet.exchange import Fields, ProtocolError
from septet.http.cache import BoundedCache, shared_texts
from septet.http.grammar import (
    BLANKED,
    MAX_LENGTH,
    WHITESPACE,
    is_digits,
    is_from_proxies,
    is_host,
    is_token,
    match_coding,
)

REMEMBERED = 1024
"""Most entries of each cache in this module: of field lines, of field names, of lists of names."""
REMEMBERED_BYTES = 256
"""Bytes. Field lines and names that are longer than this are not cached, nor lists of names four times as long."""

SHARED = frozenset(
    b"accept accept-encoding accept-language cache-control connection content-type dnt host origin pragma priority te"
    b" upgrade upgrade-insecure-requests user-agent x-forwarded-host x-forwarded-port x-forwarded-proto"
    b" x-requested-with".split()
)
"""Names of fields whose parsed lines are cached, because many requests send such lines in the same bytes. Lines of
names that begin with `sec-` are cached as well. A line with a cookie or an id hardly ever comes again: cached lines of
this kind would fill the cache and never be looked up.
"""

READ = (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade")
"""Names of the fields that the server reads itself."""


def read_fields(lines: list[bytes]) -> Fields:
    """Parse field lines, without their CRLF, into pairs of a name in lower case and a value.

    Raises ProtocolError(400) for a name that is no token, white space before the colon, a folded line, a control byte.
    """
    return tuple(map(_lines.__getitem__, lines))


class _Lines(BoundedCache[bytes, tuple[bytes, bytes]]):
    """Cache of the pairs that `read_fields` makes of field lines, by the bytes of the line. Only lines that many
    requests send are kept: those of names in SHARED, and of names that begin with `sec-`.
    """

    def __missing__(self, line: bytes) -> tuple[bytes, bytes]:
        name, colon, value = line.partition(b":")
        lower, _, shared = _names[name]
        if not colon:
            raise ProtocolError(400, "a header field has no colon")
        if value.translate(BLANKED) != value:
            raise ProtocolError(400, "a header field's value holds a control byte")
        field = lower, value.strip(WHITESPACE)
        if shared and len(line) <= REMEMBERED_BYTES:
            self.add(line, field)
            shared_texts.add(field[1], field[1].decode("latin-1"))
        return field


_lines = _Lines(REMEMBERED)


class _Names(BoundedCache[bytes, tuple[bytes, bool, bool]]):
    """Cache by the name as it was sent: the name in lower case, whether its fields are trusted, and whether it is in
    SHARED. Fields are not trusted if only a proxy may send them, or the name has an underscore: WSGI does not
    distinguish `X_Forwarded_For` from `X-Forwarded-For`. Raises ProtocolError(400) for a name that is no token."""

    def __missing__(self, name: bytes) -> tuple[bytes, bool, bool]:
        if not is_token(name):
            if name[:1] in (b" ", b"\t"):
                raise ProtocolError(400, "a header field is folded: its line begins with white space")
            raise ProtocolError(400, "a header field has no name, or one that is not a token")
        lower = name.lower()
        known = lower, not (b"_" in lower or is_from_proxies(lower)), lower in SHARED or lower.startswith(b"sec-")
        if len(name) <= REMEMBERED_BYTES:
            self.add(name, known)
        return known


_names = _Names(REMEMBERED)


Select = Callable[[Fields], Fields]
"""Returns the fields that stand in certain places of a section."""


class _Layouts(BoundedCache[tuple[bytes, ...], tuple[Select, Select, Select | None]]):
    """Cache by the names of a section, which clients send in the same order again and again: functions that return the
    fields of READ, the trusted fields, and the untrusted ones. The last is None if all are trusted.
    """

    def __missing__(self, names: tuple[bytes, ...]) -> tuple[Select, Select, Select | None]:
        trusted = [_names[name][1] for name in names]
        layout = (
            _select([place for place, name in enumerate(names) if name in READ]),
            _select([place for place, each in enumerate(trusted) if each]),
            None if all(trusted) else _select([place for place, each in enumerate(trusted) if not each]),
        )
        if sum(map(len, names)) + 16 * len(names) <= 4 * REMEMBERED_BYTES:
            self.add(names, layout)
        return layout


def _select(places: list[int]) -> Select:
    return itemgetter(*places) if len(places) > 1 else itemgetter(slice(*places, *[each + 1 for each in places] or [0]))


layouts = _Layouts(REMEMBERED)


def join_repeated(fields: Fields) -> dict[bytes, bytes]:
    """Return the values of fields by name. If one came more than once, its values are joined by commas (RFC 9110
    section 5.3), but two Host fields raise ProtocolError(400).
    """
    named: dict[bytes, bytes] = {}
    for name, value in fields:
        if name == b"host" and name in named:
            raise ProtocolError(400, "a request has exactly one Host field")
        named[name] = named[name] + b"," + value if name in named else value
    return named


def check_trailer(line: bytes) -> None:
    """Raise ProtocolError(400) for a malformed trailer field. Valid ones are ignored, so none can set framing or
    routing."""
    read_fields([line])


def check_field_line(line: bytes) -> None:
    """Raise ProtocolError(400) for a field line that no valid header section can contain: it is malformed, or it is a
    Host, Content-Length or Transfer-Encoding with a malformed value.
    """
    ((name, value),) = read_fields([line])
    if name == b"host":
        check_host(value, "1.1")
    elif name == b"content-length":
        _read_length(value)
    elif name == b"transfer-encoding":
        _read_codings(value)


def check_host(host: bytes | None, version: str) -> None:
    """Raise ProtocolError(400) unless there is one valid Host, which HTTP/1.0 may omit (RFC 9112 section 3.2)."""
    if host is None:
        if version == "1.1":
            raise ProtocolError(400, "a request has exactly one Host field")
        return
    if not is_host(host):
        raise ProtocolError(400, "the Host field is not a host with an optional port")


def framing(version: str, named: dict[bytes, bytes]) -> tuple[int, bool]:
    """Return (length of the body in bytes, False), or (0, True) if it is chunked (RFC 9112 section 6). Raises
    ProtocolError."""
    coding = named.get(b"transfer-encoding")
    length = named.get(b"content-length")
    if coding is not None:
        if length is not None or version == "1.0":
            raise ProtocolError(400, "Transfer-Encoding stands beside Content-Length, or in HTTP/1.0")
        _check_codings(_read_codings(coding))
        return 0, True
    return (0 if length is None else _read_length(length)), False


def _check_codings(codings: list[bytes]) -> None:
    """Raise ProtocolError unless the only coding is chunked.

    400 if the last coding is not chunked, or an earlier one is: the end of the body is unknown (RFC 9112 section 6.3).
    501 if others precede chunked: the end is known, but the server cannot decode the content (section 6.1).
    """
    if codings[-1:] != [b"chunked"] or codings.count(b"chunked") > 1:
        raise ProtocolError(400, "the last transfer coding of a request is chunked, which is applied once")
    if len(codings) > 1:
        raise ProtocolError(501, "no transfer coding but chunked is undone here")


def _read_codings(value: bytes) -> list[bytes]:
    """Return the names of the transfer codings that Transfer-Encoding lists, in lower case. Raises
    ProtocolError(400)."""
    if value == b"chunked":
        return [value]
    names: list[bytes] = []
    position = 0
    end = b","
    while end:
        matched = match_coding(value, position)
        name, parameters, end = matched.groups() if matched else (b"", b"", b"")
        if matched is None or (parameters and name.lower() == b"chunked"):  # it has none (RFC 9112 section 7.1)
            raise ProtocolError(400, "Transfer-Encoding is not a list of transfer codings")
        if name is not None:
            names.append(name.lower())
        position = matched.end()
    return names


def _read_length(value: bytes) -> int:
    """Return a Content-Length as a number of bytes; a list is accepted if all its values are equal (RFC 9112 section
    6.3). Raises ProtocolError(400)."""
    if b"," in value:
        first, *others = (each.strip(WHITESPACE) for each in value.split(b","))
        value = first if others.count(first) == len(others) else b""
    if not is_digits(value) or int(value) >= MAX_LENGTH:
        raise ProtocolError(400, "Content-Length is not one number")
    return int(value)


def with_one_length(fields: Fields, length: int) -> Fields:
    """Return `fields` with a single Content-Length, of this `length`, at the position of the first (RFC 9110 section
    8.6)."""
    place = [name for name, _ in fields].index(b"content-length")
    others = (field for field in fields[place:] if field[0] != b"content-length")
    return (*fields[:place], (b"content-length", b"%d" % length), *others)


def allows_keep_alive(version: str, value: bytes | None) -> bool:
    """True if the connection may persist after a request whose Connection has this `value` (RFC 9112 section 9.3)."""
    if value is None or value == b"keep-alive":
        return value is not None or version == "1.1"
    options = [option.strip(WHITESPACE) for option in value.lower().split(b",")]
    return b"close" not in options and (version == "1.1" or b"keep-alive" in options)


def expects_continue(version: str, value: bytes | None) -> bool:
    """True if the client may wait for 100 Continue, by the `value` of its field Expect; never for HTTP/1.0. Raises
    ProtocolError(417) if it expects anything else.
    """
    if value is None or version == "1.0":  # RFC 9110 section 10.1.1: a 1.0 expectation is ignored
        return False
    expectations = {each.strip(WHITESPACE) for each in value.lower().split(b",")} - {b""}
    if expectations - {b"100-continue"}:
        raise ProtocolError(417, "the only expectation that can be met is 100-continue")
    return bool(expectations)
