"""The fields of an HTTP/2 request, checked, as the `Request` that applications know (RFC 9113 section 8.3).

There are two kinds of refusal. What section 8.1.1 calls malformed raises `Malformed`, and the stream is reset: such a
request has no meaning, and half of these rules exist so that nothing is smuggled to servers that speak HTTP/1.1. A
well-formed request that exceeds a limit, or asks for something that the server does not do, raises `ProtocolError` with
a status, and is answered as in HTTP/1.1.

`:authority` becomes the field `host`, which comes first, as ASGI asks for. Several `cookie` fields become one (section
8.2.3).
"""

import re

from septet.exchange import Fields, ProtocolError, Request
from septet.http.cache import BoundedCache
from septet.http.grammar import BLANKED, MAX_LENGTH, TARGET_BYTES, is_digits, is_from_proxies, is_host, is_token
from septet.http.incoming import Limits

REMEMBERED_HEADS = 256
REMEMBERED_HEAD = 4096
"""Bytes. Heads up to this size are cached as requests, up to REMEMBERED_HEADS of them for each scheme."""

FIELD_OVERHEAD = 32
"""Bytes that are added to the size of each field's name and value when fields are counted against
SETTINGS_MAX_HEADER_LIST_SIZE (RFC 7541 section 4.1).
"""

VERSION = "2"

_is_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
"""Matches a field name: a token without capitals (RFC 9113 section 8.2.1)."""

_OF_THE_CONNECTION = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
"""Fields that a request of HTTP/2 must not have (RFC 9113 section 8.2.2)."""

_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})

_known: dict[str, BoundedCache[tuple[Limits, bool, bool, Fields], Request]] = {
    scheme: BoundedCache(REMEMBERED_HEADS) for scheme in ("http", "https")
}


class Malformed(Exception):
    """The request is malformed in the sense of RFC 9113 section 8.1.1: its stream is reset with PROTOCOL_ERROR."""


def request_of(fields: Fields, ended: bool, scheme: str, limits: Limits, tunnels: bool) -> Request:
    """Return the request that these fields, pseudo-fields among them, describe. Later requests with equal fields may
    get the same object from a cache (see `Request.derived`).

    `ended`: the request has no body. `scheme`: "http" or "https", the scheme that the request gets; the client's
    `:scheme` is only checked. `tunnels`: WebSockets are offered (RFC 8441). Raises Malformed for a request that breaks
    the rules of HTTP/2, and ProtocolError with a status (400, 414, 417, 431 or 501) for one that cannot be answered
    otherwise.
    """
    known = _known[scheme]
    try:
        return known[limits, ended, tunnels, fields]
    except KeyError:
        pass
    size = sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in fields)
    if size > limits.header_block:
        raise ProtocolError(431, f"the header fields are larger than {limits.header_block} bytes")
    request = _Reader(fields).request(ended, scheme, limits, tunnels)
    if size <= REMEMBERED_HEAD and known.add((limits, ended, tunnels, fields), request):
        request.derived = {}
    return request


def check_trailers(fields: Fields) -> None:
    """Raise Malformed if a trailer has a name or a value that HTTP/2 does not allow, or is a pseudo-field (RFC 9113
    section 8.1). Valid trailers are ignored, as in HTTP/1.1.
    """
    for name, value in fields:
        if name[:1] == b":":
            raise Malformed("a trailer is a pseudo-field")
        _check_field(name, value)


class _Reader:
    """Reads the fields of one HTTP/2 request: sorts them into its attributes `pseudo` (the pseudo-fields) and `fields`
    (the others), and makes the request of them.
    """

    def __init__(self, fields: Fields) -> None:
        self.pseudo: dict[bytes, bytes] = {}
        self.fields: list[tuple[bytes, bytes]] = []
        self.cookies: list[bytes] = []
        self.lengths: list[bytes] = []
        self.count = 0
        for name, value in fields:
            if name[:1] == b":":
                self._take_pseudo(name, value)
            else:
                self._take(name, value)

    def _take_pseudo(self, name: bytes, value: bytes) -> None:
        if name not in _PSEUDO or name in self.pseudo:
            raise Malformed("a pseudo-field is unknown, or comes twice")
        if self.count:
            raise Malformed("a pseudo-field follows other fields")
        _check_value(value)
        self.pseudo[name] = value

    def _take(self, name: bytes, value: bytes) -> None:
        _check_field(name, value)
        self.count += 1
        if name == b"cookie":
            self.cookies.append(value)
            if len(self.cookies) > 1:
                return
        elif name == b"content-length":
            self.lengths.append(value)
            if len(self.lengths) > 1:
                return
        self.fields.append((name, value))

    def request(self, ended: bool, scheme: str, limits: Limits, tunnels: bool) -> Request:
        method, path, protocol = self._pseudo_fields(tunnels)
        host = self._host()
        if len(path) > limits.request_line:
            raise ProtocolError(414, f"the path is longer than {limits.request_line} bytes")
        if self.count > limits.header_count:
            raise ProtocolError(431, f"the request has more than {limits.header_count} header fields")
        if path.translate(None, TARGET_BYTES) or (path[:1] != b"/" and not (path == b"*" and method == b"OPTIONS")):
            raise ProtocolError(400, "the path is not one of a request target")
        length = self._content_length()
        if ended and length:
            raise Malformed("the request announces content, and has none")
        if self.cookies[1:]:
            place = self.fields.index((b"cookie", self.cookies[0]))
            self.fields[place] = b"cookie", b"; ".join(self.cookies)
        fields = [(b"host", host), *(field for field in self.fields if field[0] != b"host")]
        trusted = tuple(field for field in fields if not _is_untrusted(field[0]))
        untrusted = tuple(field for field in fields if _is_untrusted(field[0]))
        target, _, query = path.partition(b"?")
        return Request(
            method.decode("ascii"),
            path,
            target,
            query,
            VERSION,
            trusted,
            length or 0,
            expects_continue=self._expects_continue(),
            has_body=not ended,
            untrusted_fields=untrusted,
            scheme=scheme,
            upgrade=protocol,
        )

    def _pseudo_fields(self, tunnels: bool) -> tuple[bytes, bytes, bytes | None]:
        """Return the method, the path, and the protocol that an extended CONNECT asks for (RFC 8441 section 4); this
        protocol is None for any other request. `tunnels`: True if extended CONNECT was offered. Raises Malformed, and
        ProtocolError (400 or 501).
        """
        pseudo = self.pseudo
        method, path, protocol = pseudo.get(b":method"), pseudo.get(b":path"), pseudo.get(b":protocol")
        if method is None or not is_token(method):
            raise Malformed("there is no method")
        if protocol is not None and (not tunnels or method != b"CONNECT"):
            raise Malformed(":protocol stands beside another method than CONNECT, or was not offered")
        if method == b"CONNECT" and protocol is None:
            if path is not None or b":scheme" in pseudo or b":authority" not in pseudo:
                raise Malformed("CONNECT has an authority, and neither a scheme nor a path")
            raise ProtocolError(501, "tunnels (CONNECT) are not built here")
        if not path or not pseudo.get(b":scheme"):
            raise Malformed("there is no path, or no scheme")
        if pseudo[b":scheme"] not in (b"http", b"https"):
            raise ProtocolError(400, "the scheme is neither http nor https")
        if protocol is not None and protocol.lower() != b"websocket":
            raise ProtocolError(501, "the only tunnels that are built here are those of WebSocket")
        return method, path, protocol

    def _host(self) -> bytes:
        hosts = [value for name, value in self.fields if name == b"host"]
        authority = self.pseudo.get(b":authority")
        if len(hosts) > 1 or (hosts and authority is not None and hosts[0].lower() != authority.lower()):
            raise Malformed(":authority and the Host fields name different hosts")
        host = authority if authority is not None else hosts[0] if hosts else b""
        if not host or host[:1] == b":" or not is_host(host):
            raise ProtocolError(400, "the authority is not a host with an optional port")
        return host

    def _content_length(self) -> int | None:
        if not self.lengths:
            return None
        value = self.lengths[0]
        if self.lengths.count(value) < len(self.lengths) or not is_digits(value) or int(value) >= MAX_LENGTH:
            raise Malformed("content-length is not one number")
        return int(value)

    def _expects_continue(self) -> bool:
        values = [value.lower() for name, value in self.fields if name == b"expect"]
        if any(value != b"100-continue" for value in values):
            raise ProtocolError(417, "the only expectation that can be met is 100-continue")
        return bool(values)


def _check_field(name: bytes, value: bytes) -> None:
    if not _is_name(name):
        raise Malformed("the name of a field is not a token in lower case")
    _check_value(value)
    if name in _OF_THE_CONNECTION or (name == b"te" and value.lower() != b"trailers"):
        raise Malformed(f"{name.decode('ascii')} belongs to a connection of HTTP/1.1")


def _check_value(value: bytes) -> None:
    if value.translate(BLANKED) != value or value.strip(b" \t") != value:
        raise Malformed("the value of a field holds a control byte, or has blanks at its ends")


def _is_untrusted(name: bytes) -> bool:
    return b"_" in name or is_from_proxies(name)
