"""Addresses of clients, as proxies write them: in text or in network bytes, with or without a port."""

import re
from ipaddress import IPv6Address, ip_address
from socket import AF_INET, inet_pton

Node = tuple[str, int]
"""(IP address in its usual spelling, port); port 0: not known."""

_node = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:([0-9]{1,5})|_[A-Za-z0-9._-]+))?").fullmatch
"""Match a node of RFC 7239 section 6 that is an address. Its port may be obfuscated (`_x`). Groups: IPv6 address, IPv4
address, numeric port."""

_unidentified = re.compile(r"(?:(?i:unknown)|_[A-Za-z0-9._-]+)(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?").fullmatch
"""Match a node of RFC 7239 sections 6.2 and 6.3 that is no address: unknown to the proxy, or obfuscated (`_x`)."""


def packed_ipv4(text: str) -> bytes:
    """Return an IPv4 address in network bytes. Raises ValueError for any other text: four decimal numbers without
    leading zeros are the only spelling of an IPv4 address. (The module ipaddress takes ten times as long.)
    """
    try:
        return inet_pton(AF_INET, text)
    except OSError:
        raise ValueError("not an IPv4 address") from None


def canonical_ip(address: str | bytes) -> str:
    """Return the usual spelling of an IP address that is given in text or in network bytes. Raises ValueError.

    An IPv4 address that is mapped into IPv6 (RFC 4291 section 2.5.5.2) becomes an IPv4 address, so that another
    spelling does not get around a list of addresses. A zone (`fe80::1%eth0`) raises ValueError: it means nothing beyond
    the machine that wrote it.
    """
    if isinstance(address, str) and ":" not in address:
        packed_ipv4(address)
        return address
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id is not None:
            raise ValueError("an address with a zone")
        return str(parsed.ipv4_mapped or parsed)
    return str(parsed)


def parse_node(text: str) -> Node | None:
    """Parse a node of RFC 7239 section 6: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]` or `[2001:db8::1]:80`. Returns
    None for `unknown` and for obfuscated identifiers such as `_hidden`. Raises ValueError for anything else."""
    matched = _node(text)
    if matched is None:
        if _unidentified(text):
            return None
        raise ValueError("neither an address nor an identifier")
    port = int(matched[3] or 0)
    if port > 65535:
        raise ValueError("a port above 65535")
    return canonical_ip(matched[1] or matched[2]), port
