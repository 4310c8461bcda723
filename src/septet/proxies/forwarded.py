"""What proxies say, in header fields, about the requests that they received: X-Forwarded-* and Forwarded (RFC 7239).

Each proxy on the way appends the address from which it received the request. So the list is read from the right: the
proxy that is connected to us wrote the last entry. If that proxy is trusted, its entry is true. If the address there
belongs to another trusted proxy, the entry before it is true as well, and so on up to the first address that is not
trusted. That is the client; it may have written everything to the left itself, and none of that is read.

If an entry of a trusted proxy is malformed, ProtocolError(400) is raised: where such a request came from, and whether
it was encrypted on its way, is unknown, so it is not served.

The cost of parsing is bounded, because a client may begin a list and make it long.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from septet.exchange import Fields, ProtocolError
from septet.http.grammar import WHITESPACE, is_host
from septet.proxies.addresses import Node, packed_ipv4, parse_node

_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
"""The scheme of a request, by the value in the proxy's field. Some proxies give the scheme of the WebSocket that the
client asks for (ws, wss).
"""

_USUAL_PORTS = (b"80", b"443")

MAX_HOPS = 100
"""Most entries of a list in X-Forwarded-* or Forwarded, empty ones included; a request with more is answered 400. There
are rarely more than a few proxies in a row; mail servers take a message with a hundred Received fields for one in a
loop (RFC 5321 section 6.3).
"""

MAX_PARAMETERS = 4 * MAX_HOPS
"""Most parameters of all entries in Forwarded together; a request with more is answered 400. RFC 7239 section 5 defines
four parameters (by, for, host, proto) for an entry.
"""


class Hop(NamedTuple):
    """What one proxy says about the request that it received."""

    node: Node | None
    """Address from which the proxy received the request; None: unknown to the proxy, or obfuscated."""
    scheme: str | None
    """Scheme ("http" or "https") in which the proxy received the request; None: the proxy does not say."""
    host: bytes | None
    """Value of Host in the request that the proxy received; None: the proxy does not say."""


def walk(hops: Iterator[Hop], trusts: Callable[[str], bool]) -> Hop:
    """Return what is known about the client from `hops`, in which each proxy says what it knows of the request that it
    received, the nearest proxy first: the first hop whose address is not trusted; if all are trusted, the last one.

    trusts: returns True for the address of a trusted proxy. The walk ends at a hop that gives no address; then the
    address is that of the hop before it. Without any hop all three values are None.
    """
    node, scheme, host = None, None, None
    for hop in hops:
        _, scheme, host = hop
        if hop.node is None:
            break
        node = hop.node
        if not trusts(node[0]):
            break
    return Hop(node, scheme, host)


def hops(fields: Fields) -> Iterator[Hop]:
    """Yield what each proxy says about the request that it received (a `Hop`), the nearest proxy first. `fields` are
    either X-Forwarded-* or Forwarded. Entries are parsed only when they are asked for, because the client may have made
    up those that come before the entries of trusted proxies. Raises ProtocolError(400) for a malformed entry.
    """
    named: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        named.setdefault(name, []).append(value)
    if b"forwarded" in named:
        return _forwarded(named[b"forwarded"])
    return _x_forwarded(named) if named.keys() & _SAYING else iter(())


def sole_hop(fields: Fields) -> Hop | None:
    """Return what `walk` would return for `hops(fields)` in the usual case: one proxy has written X-Forwarded-For with
    one IPv4 address, perhaps X-Forwarded-Proto, and fields of _BESIDE. None in any other case, and for what is
    malformed. `walk` takes several times as long.
    """
    node, scheme = None, None
    for name, value in fields:
        if name == b"x-forwarded-for" and node is None:
            text = value.decode("latin-1")
            try:
                packed_ipv4(text)
            except ValueError:
                return None
            node = text, 0
        elif name == b"x-forwarded-proto" and scheme is None:
            scheme = _SCHEMES.get(value.lower())
            if scheme is None:
                return None
        elif name not in _BESIDE:
            return None
    return None if node is None else Hop(node, scheme, None)


_BESIDE = {b"x-forwarded-port", b"x-real-ip"}
"""Fields that proxies write as well, and that say nothing about the client where X-Forwarded-Host is missing."""


def select_kind(fields: Fields, kind: str) -> Fields:
    """Return `fields` without Forwarded (`kind` "x-forwarded"), or without X-Forwarded-* (`kind` "forwarded").

    With `kind` "either", Forwarded is dropped if there are X-Forwarded-* fields: a proxy that writes one kind usually
    passes the other on as its client sent it, and nearly all proxies write X-Forwarded-*.
    """
    names = {name for name, _ in fields}
    if kind == "forwarded":
        return tuple(field for field in fields if not field[0].startswith(b"x-forwarded-"))
    if b"forwarded" in names and (kind == "x-forwarded" or names & _SAYING):
        return tuple(field for field in fields if field[0] != b"forwarded")
    return fields


_SAYING = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
"""The X-Forwarded-* fields by which the server recognises a proxy that writes X-Forwarded-* and not Forwarded.
X-Forwarded-Port is not among them: it is read only beside X-Forwarded-Host.
"""


def _malformed(name: str) -> ProtocolError:
    return ProtocolError(400, f"the field {name} of a proxy makes no sense")


def _node(text: str, name: str) -> Node | None:
    try:
        return parse_node(text)
    except ValueError:
        raise _malformed(name) from None


def _scheme(value: bytes, name: str) -> str:
    scheme = _SCHEMES.get(value.lower())
    if scheme is None:
        raise _malformed(name)
    return scheme


def _host(value: bytes, name: str) -> bytes:
    if not is_host(value) or value[:1] in (b"", b":"):
        raise _malformed(name)
    return value


# X-Forwarded-*


def _x_forwarded(named: dict[bytes, list[bytes]]) -> Iterator[Hop]:
    """Yield what each proxy says in X-Forwarded-* (a `Hop`), the nearest proxy first. There is no specification: the
    fields are lists, and the n-th entries of all lists belong to one proxy.

    Most proxies write only one scheme and one host, those of the client; these are then used for every `Hop`.
    """
    nodes = _entries(named, b"x-forwarded-for")
    count = max(1, len(nodes))
    schemes = _entries(named, b"x-forwarded-proto", count)
    hosts = _entries(named, b"x-forwarded-host", count)
    ports = _entries(named, b"x-forwarded-port", count) if hosts else []
    for place in range(count - 1, -1, -1):
        node = _node(_bracketed(nodes[place].decode("latin-1")), "X-Forwarded-For") if nodes else None
        scheme = _scheme(schemes[place], "X-Forwarded-Proto") if schemes else None
        host = _host(hosts[place], "X-Forwarded-Host") if hosts else None
        yield Hop(node, scheme, _with_port(host, ports[place]) if host and ports else host)


def _entries(named: dict[bytes, list[bytes]], name: bytes, count: int = 0) -> list[bytes]:
    """Return the entries of the list field `name`, which may come in several fields (RFC 9110 section 5.6.1).

    count: the number of entries to return. If there is another number of them and all are equal, the entry is repeated;
    if they differ, ProtocolError(400) is raised; if there are none, [] is returned. 0: return as many as there are.
    """
    values = named.get(name)
    if values is None:
        return []
    _check_length(values, b",", MAX_HOPS, name)
    entries = [entry for value in values for each in value.split(b",") if (entry := each.strip(WHITESPACE))]
    if not count or not entries or len(entries) == count:
        return entries
    if len(set(entries)) > 1:
        raise ProtocolError(400, f"the field {_title(name)} of a proxy contradicts itself")
    return entries[:1] * count


def _title(name: bytes) -> str:
    return name.decode("ascii").title()


def _check_length(values: list[bytes], separator: bytes, limit: int, name: bytes) -> None:
    """Raise ProtocolError(400) if `values`, those of the field `name`, have more than `limit` entries together. Only
    separators are counted, also those inside quoted strings, so a long list is refused before it is parsed.
    """
    if sum([value.count(separator) + 1 for value in values]) > limit:
        raise ProtocolError(400, f"the field {_title(name)} of a proxy has more than {limit} entries")


def _bracketed(text: str) -> str:
    """Return `text`, an address from X-Forwarded-For, with brackets if it is an IPv6 address without them."""
    return f"[{text}]" if text.count(":") > 1 and text[:1] != "[" else text


def _with_port(host: bytes, port: bytes) -> bytes:
    """Return `host` with `port` appended if it has none. Ports 80 and 443 are left out with either scheme: behind a
    proxy that ends TLS, a second proxy may give port 80 although the scheme is https. Raises ProtocolError(400) if
    `port` is no port.
    """
    if not port.isdigit() or int(port[:6]) > 65535:
        raise _malformed("X-Forwarded-Port")
    has_port = b":" in host.rpartition(b"]")[2]
    return host if has_port or port in _USUAL_PORTS else b"%b:%b" % (host, port)


# Forwarded (RFC 7239)

_TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"

_pair = re.compile(
    rb"[ \t]*+(?:(%b++)=(?:(%b++)|\"((?:[^\"\\]|\\.)*+)\"))?+[ \t]*+([;,][;, \t]*+|\Z)" % (_TCHAR, _TCHAR), re.DOTALL
).match
"""Match one forwarded-pair of RFC 7239 section 4, which may be empty, together with the separator or the end of the
text that follows it. Groups: name, token, quoted string's content, end. Possessive quantifiers (`*+`) do not backtrack,
so the cost is linear.
"""

_unquote = re.compile(rb"\\(.)", re.DOTALL).sub


def _forwarded(values: list[bytes]) -> Iterator[Hop]:
    _check_length(values, b",", MAX_HOPS, b"forwarded")
    _check_length(values, b";", MAX_PARAMETERS, b"forwarded")
    for value in reversed(values):
        for element in reversed(_elements(value)):
            node, scheme, host = map(element.get, (b"for", b"proto", b"host"))
            yield Hop(
                None if node is None else _node(node.decode("latin-1"), "Forwarded"),
                None if scheme is None else _scheme(scheme, "Forwarded"),
                None if host is None else _host(host, "Forwarded"),
            )


def _elements(value: bytes) -> list[dict[bytes, bytes]]:
    """Return the elements of one Forwarded field, each as values by parameter name in lower case; empty elements are
    left out (RFC 9110 section 5.6.1). Raises ProtocolError(400)."""
    elements: list[dict[bytes, bytes]] = [{}]
    position = 0
    end = b","
    while end:
        matched = _pair(value, position)
        if matched is None:
            raise _malformed("Forwarded")
        name, token, quoted, end = matched.groups()
        if name is not None:
            if name.lower() in elements[-1]:  # section 4: each parameter at most once
                raise _malformed("Forwarded")
            elements[-1][name.lower()] = token if token is not None else _unquote(rb"\1", quoted)
        if b"," in end and elements[-1]:
            elements.append({})
        position = matched.end()
    return elements if elements[-1] else elements[:-1]
