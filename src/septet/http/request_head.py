"""Heads of requests: bytes to `Request` (RFC 9112 sections 2, 3 and 5)."""

from functools import lru_cache

from septet.exchange import ProtocolError, Request
from septet.http.grammar import TARGET_BYTES, is_host, is_token, is_version, split_absolute
from septet.http.sections import fill, read_section

NO_LIMIT = 2**63

REMEMBERED_LINE = 256
"""Bytes. Request lines up to this length are cached when parsed; longer ones are parsed each time."""


def parse_request(block: bytes, most_fields: int = NO_LIMIT) -> Request:
    """Return the request whose head is `block`: request line and field lines, without the empty line that ends them.

    Raises ProtocolError: 400, 417, 501 or 505, and 431 for more than `most_fields` field lines, before it reads them.
    The caller checks the other limits.
    """
    line = block.partition(b"\r\n")[0]
    method, target, version, path, query = read_request_line(line)
    section, values = read_section(block[len(line) :], version, most_fields)
    fields, changed = fill(section, values) if values else (section.fields, ())
    if target[:1] != b"/" and section.host is not None:
        _check_authority(target, section.host)
    return Request(
        method,
        target,
        path,
        query,
        version,
        fields,
        section.content_length,
        section.chunked,
        section.keep_alive,
        section.expects_continue,
        section.has_body,
        len(line),
        section.count,
        section.ordinary and method != "HEAD",
        section.untrusted_fields,
        "http",
        None,
        None if section.untrusted_fields else section,
        changed,
        section.upgrade,
    )


RequestLine = tuple[str, bytes, str, bytes, bytes]
"""Method, target, version, path and query."""


def read_request_line(line: bytes) -> RequestLine:
    """Parse a request line without its CRLF (RFC 9112 sections 2.3 and 3). Raises ProtocolError(400, 501 or 505).

    The checks for 400 come first, because a malformed line is refused before its end has come (see `unfinished`).
    """
    return _known_request_line(line) if len(line) <= REMEMBERED_LINE else _request_line(line)


def _request_line(line: bytes) -> RequestLine:
    """Parse a request line, without the cache; see `read_request_line`."""
    words = line.split(b" ")
    if len(words) != 3:
        raise ProtocolError(400, "the request line is not three words with one space between them")
    method, target, version = words
    if not is_token(method):
        raise ProtocolError(400, "the method is not a token")
    if not target or target.translate(None, TARGET_BYTES):
        raise ProtocolError(400, "the request target holds a byte that may not stand there")
    path, query = split_target(method, target)
    matched = is_version(version)
    if not matched:
        raise ProtocolError(400, "the request line does not end in an HTTP version")
    if matched[1] != b"1":
        raise ProtocolError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if method == b"CONNECT":
        raise ProtocolError(501, "tunnels (CONNECT) are not built here")
    if target == b"*" and method != b"OPTIONS":
        raise ProtocolError(400, "the request target * is for OPTIONS alone")
    # A higher minor version is answered as the highest we know (RFC 9110 section 2.5).
    return method.decode("ascii"), target, "1.0" if matched[2] == b"0" else "1.1", path, query


_known_request_line = lru_cache(256)(_request_line)


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


def _check_authority(target: bytes, host: bytes) -> None:
    """Raise ProtocolError(400) if an absolute target and Host disagree. RFC 9112 section 3.2.2 ignores Host here; but a
    disagreement is an attack or a mistake."""
    matched = split_absolute(target)
    if matched and _authority(matched[2], matched[1]) != _authority(host, matched[1]):
        raise ProtocolError(400, "the request target and the Host field name different hosts")


def _authority(text: bytes, scheme: bytes) -> tuple[bytes, int]:
    """Return the host in lower case and the port of an authority `text`; the port is the scheme's default if it is
    missing or empty (RFC 9110 section 4.2.3)."""
    host, colon, port = text.rpartition(b":")
    if not colon or b"]" in port:  # no port: there is no colon, or it is part of an IPv6 address
        host, port = text, b""
    return host.lower(), int(port) if port else _USUAL_PORTS[scheme.lower()]
