"""Parsing of header sections: the field lines of a head, and what they say of the body (RFC 9112 sections 5 and 6).

Requests resemble each other. A browser sends the same fields in the same order; from one request to the next only a few
values differ: a cookie, a request id, a referrer. So a section that was parsed leaves an *outline*, its bytes without
those values. The next section that fits the outline costs a few comparisons, and only the values that differ are
parsed. Which names have such values is learned from the requests, and everything that is kept is bounded.
"""

from functools import lru_cache

from septet.exchange import Fields, ProtocolError, Section
from septet.http.cache import BoundedCache
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

MAX_OUTLINES = 32
"""Most outlines that are kept for each version of HTTP; the least recently used is dropped first. An outline is a
header section without the values that differ from request to request.
"""

MAX_OUTLINED_BYTES = 4096
"""Most bytes of a header section of which an outline is kept; longer sections are parsed line by line each time."""

REMEMBERED_LINES = 1024
"""Most entries of each cache in this module: of field lines, of names, of untrusted fields."""
REMEMBERED_LINE = 256
"""Most bytes of a field line or of a field name that is cached."""

VALUES_TO_DIFFER = 16
"""Number of different lines with one field name after which values of that name are left out of outlines, because they
seem to differ from request to request.
"""

MAX_DIFFERING = 8
"""Most field names whose values are left out of outlines."""

Field = tuple[bytes, bytes]


def read_section(block: bytes, version: str, most_fields: int) -> tuple[Section, list[bytes]]:
    """Return the section whose lines are `block`, each with CRLF before it, and the values of the fields at the
    positions `Section.varying`, which differ from request to request; [] if there are none. `fill` puts the two
    together.

    Raises ProtocolError: 400, 417 or 501, and 431 for more than `most_fields` lines, before it parses them: parsing
    costs a hundred times what sending them costs. A section that fits an outline may have more lines than that; the
    caller checks its `count`.
    """
    outlines = _outlines.by_version[version]
    for outline in outlines:
        values = outline.values(block)
        if values is not None:
            if outline is not outlines[0]:
                _outlines.by_version[version] = [outline, *(other for other in outlines if other is not outline)]
            return outline.section, values
    section = _read(block, version, most_fields)
    if len(block) > MAX_OUTLINED_BYTES:
        return section, []
    outline = _outlines.make_outline(block, section)  # the call of _read may have replaced `_outlines`
    _outlines.by_version[version] = [outline, *_outlines.by_version[version][: MAX_OUTLINES - 1]]
    values = outline.values(block)
    assert values is not None, "a section fits its own outline"
    return section, values


def fill(section: Section, values: list[bytes]) -> tuple[Fields, Fields]:
    """Return all fields of a section, with `values` at the positions `section.varying`, and the fields at these
    positions alone. Raises ProtocolError(400) for a control byte in a value.
    """
    fields = list(section.fields)
    changed = []
    for place, value in zip(section.varying, values, strict=True):
        if value.translate(BLANKED) != value:
            raise ProtocolError(400, "a header field's value holds a control byte")
        field = fields[place] = fields[place][0], value.strip(WHITESPACE)
        changed.append(field)
    return tuple(fields), tuple(changed)


def _read(block: bytes, version: str, most_fields: int) -> Section:
    """Parse a section line by line; arguments and errors as for `read_section`."""
    lines = block.split(b"\r\n")
    del lines[0]
    if len(lines) > most_fields:
        raise ProtocolError(431, f"the request has more than {most_fields} header fields")
    fields = tuple(filter(None, map(_field_lines.__getitem__, lines)))
    named = _named_fields(fields)
    host = named.get(b"host")
    _check_host(host, version)
    length, chunked = _framing(version, named)
    untrusted_fields = () if len(fields) == len(lines) else _untrusted(lines)
    said = named.get(b"content-length")
    if said is not None and (b"," in said or len(named) < len(fields)):
        fields = _with_one_length(fields, length)
    has_body = chunked or length > 0
    keep_alive = _keep_alive(version, named.get(b"connection"))
    return Section(
        fields,
        host,
        length,
        chunked,
        keep_alive,
        _expects_continue(version, named.get(b"expect")),
        has_body,
        keep_alive and version == "1.1",
        len(lines),
        untrusted_fields,
        upgrade=named.get(b"upgrade"),
    )


class _Outline:
    """The bytes of a section without the values that differ from request to request: the pieces before, between and
    after these.
    """

    __slots__ = ("_first", "_others", "section")

    def __init__(self, section: Section, pieces: list[bytes]) -> None:
        self.section = section
        self._first = pieces[0]
        self._others = pieces[1:]

    def values(self, block: bytes) -> list[bytes] | None:
        """Return the values that `block`, the lines of a section, has where the outline leaves them out; None if the
        block does not fit the outline.
        """
        if not block.startswith(self._first):
            return None
        values = []
        end = len(self._first)
        for piece in self._others:
            start = end
            end = block.find(b"\r", start)
            if end < 0:
                end = len(block)
            if not block.startswith(piece, end):
                return None
            values.append(block[start:end])
            end += len(piece)
        return values if end == len(block) else None


class _Outlines:
    """All outlines, and `differing`: the names, as clients spell them, whose values the outlines leave out. When a name
    is added to these, a new object replaces this one, because the old outlines contain the name's values.
    """

    def __init__(self, differing: frozenset[bytes] = frozenset()) -> None:
        self.differing = differing
        self.by_version: dict[str, list[_Outline]] = {"1.0": [], "1.1": []}
        self._new_lines: dict[bytes, int] = {}

    def make_outline(self, block: bytes, section: Section) -> _Outline:
        """Return the outline of a section that was just parsed, and set `section.varying`. The values of a field that
        occurs twice are not left out.
        """
        names = [name for name, _ in section.fields]
        pieces = [b""]
        varying = []
        for line in block.split(b"\r\n")[1:]:
            name = line.partition(b":")[0]
            lower = name.lower()
            if name in self.differing and names.count(lower) == 1:
                pieces[-1] += b"\r\n" + name + b":"
                pieces.append(b"")
                varying.append(names.index(lower))
            else:
                pieces[-1] += b"\r\n" + line
        section.varying = tuple(varying)
        return _Outline(section, pieces)

    def count_new_line(self, name: bytes) -> None:
        """Count a line with this field name that was not in the cache. The VALUES_TO_DIFFER-th makes outlines leave out
        the values of the name from then on.
        """
        global _outlines
        count = self._new_lines[name] = self._new_lines.get(name, 0) + 1
        if count >= VALUES_TO_DIFFER and name not in self.differing:
            _outlines = _Outlines(self.differing | {name} if len(self.differing) < MAX_DIFFERING else frozenset({name}))
        elif len(self._new_lines) > REMEMBERED_LINES:
            self._new_lines.clear()


_outlines = _Outlines()


class _FieldLines(BoundedCache[bytes, Field | None]):
    """Cache of parsed field lines, (name in lower case, value), by their bytes; None for a field that goes into
    `Request.untrusted_fields`."""

    def __missing__(self, line: bytes) -> Field | None:
        read = _field(line)
        name = read[0]
        field = None if _untrusted_names[name] else read
        if len(line) <= REMEMBERED_LINE:
            self.add(line, field)
            if field and name not in _READ_BY_US:
                _outlines.count_new_line(line[: len(name)])
        return field


_field_lines = _FieldLines(REMEMBERED_LINES)


class _UntrustedNames(BoundedCache[bytes, bool]):
    """Cache by name in lower case: True if its fields go into `Request.untrusted_fields`, because only a proxy may send
    them, or the name has an underscore. WSGI does not distinguish `X_Forwarded_For` from `X-Forwarded-For`, which only
    a proxy may send."""

    def __missing__(self, name: bytes) -> bool:
        untrusted_fields = b"_" in name or is_from_proxies(name)
        if len(name) <= REMEMBERED_LINE:
            self.add(name, untrusted_fields)
        return untrusted_fields


_untrusted_names = _UntrustedNames(REMEMBERED_LINES)


def _untrusted(lines: list[bytes]) -> Fields:
    return tuple(_untrusted_lines[line] for line in lines if _field_lines[line] is None)


class _UntrustedLines(BoundedCache[bytes, Field]):
    """Cache of untrusted fields by the bytes of their lines."""

    def __missing__(self, line: bytes) -> Field:
        field = _field(line)
        if len(line) <= REMEMBERED_LINE:
            self.add(line, field)
        return field


_untrusted_lines = _UntrustedLines(REMEMBERED_LINES)


def _field(line: bytes) -> Field:
    """Parse one field line (RFC 9112 section 5) into its name in lower case and its value. Raises ProtocolError(400)
    for white space before the colon, a folded line and control bytes."""
    name, colon, value = line.partition(b":")
    lower = _names[name]
    if not colon:
        raise ProtocolError(400, "a header field has no colon")
    if value.translate(BLANKED) != value:
        raise ProtocolError(400, "a header field's value holds a control byte")
    return lower, value.strip(WHITESPACE)


class _Names(BoundedCache[bytes, bytes]):
    """Cache of field names in lower case, by the name as it was sent. Raises ProtocolError(400) for one that is no
    token."""

    def __missing__(self, name: bytes) -> bytes:
        if not is_token(name):
            if name[:1] in (b" ", b"\t"):
                raise ProtocolError(400, "a header field is folded: its line begins with white space")
            raise ProtocolError(400, "a header field has no name, or one that is not a token")
        lower = name.lower()
        if len(name) <= REMEMBERED_LINE:
            self.add(name, lower)
        return lower


_names = _Names(REMEMBERED_LINES)


def _named_fields(fields: Fields) -> dict[bytes, bytes]:
    """Return values by name. If a field that the server reads itself came more than once, its values are joined by
    commas (RFC 9110 section 5.3), with two exceptions: two Host fields raise ProtocolError(400), and several equal
    Content-Length fields count as one. Of other fields that came more than once, the last value is returned.
    """
    named = dict(fields)
    if len(named) == len(fields):
        return named
    for name in _READ_BY_US:
        values = [value for other, value in fields if other == name]
        if len(values) > 1:
            if name == b"host":
                raise ProtocolError(400, "a request has exactly one Host field")
            named[name] = values[0] if name == b"content-length" and len(set(values)) == 1 else b",".join(values)
    return named


_READ_BY_US = (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade")


def check_trailer(line: bytes) -> None:
    """Raise ProtocolError(400) for a malformed trailer field. Valid ones are ignored, so none can set framing or
    routing."""
    _field(line)


def check_field_line(line: bytes) -> None:
    """Raise ProtocolError(400) for a field line that no valid header section can contain: it is malformed, or it is a
    Host, Content-Length or Transfer-Encoding with a malformed value.
    """
    name, value = _field(line)
    if name == b"host":
        _check_host(value, "1.1")
    elif name == b"content-length":
        _read_length(value)
    elif name == b"transfer-encoding":
        _read_codings(value)


def _check_host(host: bytes | None, version: str) -> None:
    """Raise ProtocolError(400) unless there is one valid Host, which HTTP/1.0 may omit (RFC 9112 section 3.2)."""
    if host is None:
        if version == "1.1":
            raise ProtocolError(400, "a request has exactly one Host field")
        return
    if not (_is_known_host(host) if len(host) <= REMEMBERED_LINE else is_host(host)):
        raise ProtocolError(400, "the Host field is not a host with an optional port")


@lru_cache(256)
def _is_known_host(host: bytes) -> bool:
    return is_host(host) is not None


def _framing(version: str, named: dict[bytes, bytes]) -> tuple[int, bool]:
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


def _with_one_length(fields: Fields, length: int) -> Fields:
    """Return `fields` with a single Content-Length, at the position of the first (RFC 9110 section 8.6)."""
    values = [value for name, value in fields if name == b"content-length"]
    if len(values) == 1 and b"," not in values[0]:
        return fields
    place = fields.index((b"content-length", values[0]))
    others = (field for field in fields[place:] if field[0] != b"content-length")
    return (*fields[:place], (b"content-length", b"%d" % length), *others)


def _keep_alive(version: str, value: bytes | None) -> bool:
    """True if the connection may persist after this request: `value` is that of Connection, or None (RFC 9112 section
    9.3)."""
    if value is None or value == b"keep-alive":
        return version == "1.1" or value is not None
    options = [option.strip(WHITESPACE) for option in value.lower().split(b",")]
    return b"close" not in options and (version == "1.1" or b"keep-alive" in options)


def _expects_continue(version: str, value: bytes | None) -> bool:
    if value is None or version == "1.0":  # RFC 9110 section 10.1.1: a 1.0 expectation is ignored
        return False
    expectations = {each.strip(WHITESPACE) for each in value.lower().split(b",")} - {b""}
    if expectations - {b"100-continue"}:
        raise ProtocolError(417, "the only expectation that can be met is 100-continue")
    return bool(expectations)
