"""Heads of requests: bytes to `Request` (RFC 9112 sections 2, 3 and 5)."""

from operator import itemgetter

from septet.exchange import Fields, ProtocolError, Request
from septet.http.cache import BoundedCache
from septet.http.grammar import TARGET_BLANKED, is_host, is_token, is_version, split_absolute
from septet.http.sections import (
    REMEMBERED,
    REMEMBERED_BYTES,
    allows_keep_alive,
    check_host,
    expects_continue,
    framing,
    join_repeated,
    layouts,
    read_fields,
    with_one_length,
)

NO_LIMIT = 2**63


def parse_request(lines: list[bytes], most_fields: int = NO_LIMIT, scheme: str = "http") -> Request:
    """Return the request whose head `lines` are: request line, which is removed, and field lines, without their CRLF
    and without the empty line that ends them. `scheme` is the connection's.

    Raises ProtocolError: 400, 417, 501 or 505, and 431 for more than `most_fields` field lines, before it parses them,
    because parsing costs a hundred times what sending them costs. The caller checks the other limits.
    """
    method, target, version, path, query = read_request_line(lines.pop(0))
    if len(lines) > most_fields:
        raise ProtocolError(431, f"the request has more than {most_fields} header fields")
    fields = read_fields(lines)
    read, trusted, untrusted = layouts[(*map(_name, fields),)]
    ours = read(fields)
    facts, listed, upgrade = _readings[version, ours]
    untrusted_fields: Fields = ()
    if untrusted is not None:
        untrusted_fields = untrusted(fields)
        fields = trusted(fields)
    if listed:
        fields = with_one_length(fields, facts[0])
    if target[:1] != b"/":
        _check_authority(target, dict(ours).get(b"host"))
    ordinary = facts[2] and version == "1.1" and method != "HEAD"
    return Request(method, target, path, query, version, fields, *facts, ordinary, untrusted_fields, scheme, upgrade)


Reading = tuple[tuple[int, bool, bool, bool, bool], bool, bytes | None]
"""`Request.content_length` to `has_body`; whether the length came as a list; the value of Upgrade."""


class _Readings(BoundedCache[tuple[str, Fields], Reading]):
    """Cache of what the fields of READ say, by version and fields. With a Content-Length they are read each time."""

    def __missing__(self, key: tuple[str, Fields]) -> Reading:
        version, fields = key
        named = join_repeated(fields)
        check_host(named.get(b"host"), version)
        length, chunked = framing(version, named)
        listed = not chunked and named.get(b"content-length", b"").find(b",") >= 0
        keep_alive = allows_keep_alive(version, named.get(b"connection"))
        expects = expects_continue(version, named.get(b"expect"))
        reading = (length, chunked, keep_alive, expects, chunked or length > 0), listed, named.get(b"upgrade")
        if b"content-length" not in named and sum(map(len, named.values())) <= REMEMBERED_BYTES:
            self.add(key, reading)
        return reading


_readings = _Readings(REMEMBERED)
_name = itemgetter(0)

RequestLine = tuple[str, bytes, str, bytes, bytes]
"""Method, target, version, path and query."""


def read_request_line(line: bytes) -> RequestLine:
    """Parse a request line without its CRLF (RFC 9112 sections 2.3 and 3). Raises ProtocolError(400, 501 or 505).

    The checks for 400 come first, because a malformed line is refused before its end has come (see `unfinished`).
    """
    words = line.split(b" ")
    if len(words) != 3:
        raise ProtocolError(400, "the request line is not three words with one space between them")
    word, target, version = words
    method = _METHODS.get(word) or _other_method(word)
    if not target or target.translate(TARGET_BLANKED) != target:
        raise ProtocolError(400, "the request target holds a byte that may not stand there")
    if target[:1] == b"/":
        path, _, query = target.partition(b"?")
    else:
        path, query = split_target(word, target)
    minor = "1.1" if version == b"HTTP/1.1" else _minor(version)
    if method == "CONNECT":
        raise ProtocolError(501, "tunnels (CONNECT) are not built here")
    if path == b"*" and method != "OPTIONS":
        raise ProtocolError(400, "the request target * is for OPTIONS alone")
    return method, target, minor, path, query


_METHODS = {method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}


def _other_method(word: bytes) -> str:
    if not is_token(word):
        raise ProtocolError(400, "the method is not a token")
    return word.decode("ascii")


def _minor(version: bytes) -> str:
    """Return "1.0" or "1.1" for a version. A higher minor version is answered as the highest we know (RFC 9110 section
    2.5). Raises ProtocolError(400 or 505)."""
    matched = is_version(version)
    if not matched:
        raise ProtocolError(400, "the request line does not end in an HTTP version")
    if matched[1] != b"1":
        raise ProtocolError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    return "1.0" if matched[2] == b"0" else "1.1"


def split_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a request target in any of the four forms of RFC 9112 section 3.2; the query without its
    question mark. Raises ProtocolError(400).

    `*` is accepted with any method here, so that the first line of HTTP/2, `PRI * HTTP/2.0`, is refused for its version
    (505).
    """
    if target[:1] == b"/":
        path, _, query = target.partition(b"?")
        return path, query
    if target == b"*" or method == b"CONNECT":
        return target, b""
    matched = split_absolute(target)
    if not matched or not is_host(matched[2]) or matched[2][:1] == b":":  # RFC 9110 section 4.2.1: no empty host
        raise ProtocolError(400, "the request target has none of the four forms")
    return matched[3] or b"/", (matched[4] or b"?")[1:]


_USUAL_PORTS = {b"http": 80, b"https": 443}


def _check_authority(target: bytes, host: bytes | None) -> None:
    """Raise ProtocolError(400) if an absolute target and Host disagree. RFC 9112 section 3.2.2 ignores Host here; but a
    disagreement is an attack or a mistake."""
    matched = split_absolute(target)
    if matched and host is not None and _authority(matched[2], matched[1]) != _authority(host, matched[1]):
        raise ProtocolError(400, "the request target and the Host field name different hosts")


def _authority(text: bytes, scheme: bytes) -> tuple[bytes, int]:
    """Return the host in lower case and the port of an authority `text`; the port is the scheme's default if it is
    missing or empty (RFC 9110 section 4.2.3)."""
    host, colon, port = text.rpartition(b":")
    if not colon or b"]" in port:  # no port: there is no colon, or it is part of an IPv6 address
        host, port = text, b""
    return host.lower(), int(port) if port else _USUAL_PORTS[scheme.lower()]
