"""What proxies say, in header fields, of the request that they received: X-Forwarded-* and Forwarded (RFC 7239).

Each proxy on the way adds the address from which the request came to it. So the list reads from the right: the last
entry was written by the proxy that is connected to us. If that one is trusted, its entry is true; if the address there
is another trusted proxy's, the entry before is true as well, and so on to the first address that is not trusted: that
is the client, and whatever stands left of it was written by the client and is never looked at.

What a trusted proxy says must make sense: ProtocolError(400) is raised otherwise, for a request of which nobody knows
where it came from, or whether it was encrypted on its way, is better not served.

What it costs to read is bounded, too: a client may begin a list, and so may make it long.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from septet.exchange import Fields, ProtocolError
from septet.http.grammar import WHITESPACE, is_host
from septet.proxies.addresses import Node, parse_node

_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
"""Some proxies name the scheme of the WebSocket that the client would like to have."""

_USUAL_PORTS = (b"80", b"443")

MAX_HOPS = 100
"""Entries of a list, empty ones as well. Proxies in a row are a handful; mail servers hold a message with a hundred
Received fields for one that goes round in circles (RFC 5321 section 6.3)."""

MAX_PARAMETERS = 4 * MAX_HOPS
"""Of the entries in Forwarded together: RFC 7239 section 5 has four (by, for, host, proto)."""


class Hop(NamedTuple):
    """What one proxy says."""

    node: Node | None
    """From where the request came to it; None: it does not know, or does not tell."""
    scheme: str | None
    """In which the request came to it."""
    host: bytes | None
    """The Host field that came to it."""


def walk(hops: Iterator[Hop], trusts: Callable[[str], bool]) -> Hop:
    """What is known of the client: of the first hop whose address is not trusted, from the right, or else of the last.

    Where a hop's address is not told, the way is lost: the nearest address that is known stands for the client then.
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
    """What `fields`, which are of one kind, say; the nearest proxy first. It is read as far as it is asked for."""
    named: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        named.setdefault(name, []).append(value)
    if b"forwarded" in named:
        return _forwarded(named[b"forwarded"])
    return _x_forwarded(named) if named.keys() & _SAYING else iter(())


def of_one_kind(fields: Fields, kind: str) -> Fields:
    """`fields` without Forwarded (`kind` is x-forwarded), or without X-Forwarded-* (forwarded).

    Where it may be either, Forwarded goes if X-Forwarded-* say anything: a proxy that writes the one usually lets the
    other pass as its client sent it, and nearly all write X-Forwarded-*.
    """
    names = {name for name, _ in fields}
    if kind == "forwarded":
        return tuple(field for field in fields if not field[0].startswith(b"x-forwarded-"))
    if b"forwarded" in names and (kind == "x-forwarded" or names & _SAYING):
        return tuple(field for field in fields if field[0] != b"forwarded")
    return fields


_SAYING = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
"""Of the X-Forwarded-* fields, those that we read ourselves (and -port, which says nothing alone)."""


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


# X-Forwarded-For and its kin


def _x_forwarded(named: dict[bytes, list[bytes]]) -> Iterator[Hop]:
    """A convention of many proxies, written down nowhere: the fields are lists that belong together, entry by entry.

    But most proxies write only one scheme and one host, those of the client, whatever the number of hops.
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
    """The entries of a list that may come in several fields (RFC 9110 section 5.6.1); if `count` is given, so many."""
    title = name.decode("ascii").title()
    values = named.get(name, [])
    _check_length(values, b",", MAX_HOPS, title)
    entries = [entry for value in values for each in value.split(b",") if (entry := each.strip(WHITESPACE))]
    if not count or not entries or len(entries) == count:
        return entries
    if len(set(entries)) > 1:
        raise ProtocolError(400, f"the field {title} of a proxy contradicts itself")
    return entries[:1] * count


def _check_length(values: list[bytes], separator: bytes, limit: int, name: str) -> None:
    """By the separators, before anything is taken apart; one in a quoted string counts as well."""
    if sum(value.count(separator) + 1 for value in values) > limit:
        raise ProtocolError(400, f"the field {name} of a proxy has more than {limit} entries")


def _bracketed(text: str) -> str:
    """An IPv6 address stands without brackets here, unless it has a port."""
    return f"[{text}]" if text.count(":") > 1 and text[:1] != "[" else text


def _with_port(host: bytes, port: bytes) -> bytes:
    """A port completes a host that has none. That of plain HTTP or HTTPS is left out, also where the scheme is the
    other one: a balancer behind the one that ended TLS says so."""
    if not port.isdigit() or int(port[:6]) > 65535:
        raise _malformed("X-Forwarded-Port")
    has_port = b":" in host.rpartition(b"]")[2]
    return host if has_port or port in _USUAL_PORTS else b"%b:%b" % (host, port)


# Forwarded (RFC 7239)

_TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"

_pair = re.compile(
    rb"[ \t]*+(?:(%b++)=(?:(%b++)|\"((?:[^\"\\]|\\.)*+)\"))?+[ \t]*+([;,][;, \t]*+|\Z)" % (_TCHAR, _TCHAR), re.DOTALL
).match
"""One forwarded-pair of section 4, or nothing, and what ends it. Nothing here is tried in two ways (`*+` gives nothing
back), so the cost is linear."""

_unquote = re.compile(rb"\\(.)", re.DOTALL).sub


def _forwarded(values: list[bytes]) -> Iterator[Hop]:
    _check_length(values, b",", MAX_HOPS, "Forwarded")
    _check_length(values, b";", MAX_PARAMETERS, "Forwarded")
    for value in reversed(values):
        for element in reversed(_elements(value)):
            node, scheme, host = map(element.get, (b"for", b"proto", b"host"))
            yield Hop(
                None if node is None else _node(node.decode("latin-1"), "Forwarded"),
                None if scheme is None else _scheme(scheme, "Forwarded"),
                None if host is None else _host(host, "Forwarded"),
            )


def _elements(value: bytes) -> list[dict[bytes, bytes]]:
    """The elements of one field, each with its parameters; empty ones are left out (RFC 9110 section 5.6.1)."""
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
