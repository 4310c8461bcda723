"""Which peers are trusted proxies, as `--forwarded-allow-ips` names them: the server believes what they say about
their clients.

Host names are refused, because a name server's answers may change, and may come from others. A network with bits beyond
its prefix (10.0.0.1/8) is refused as well: either the address or the prefix is a mistake.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from septet.proxies.addresses import packed_ipv4

SYNTAX = "an address, a network such as 10.0.0.0/8, unix:, * for everybody, none for nobody, or several with commas"

UNIX = "unix:"
"""The word that stands for all peers on unix sockets. They have no addresses, and the socket's permissions decide which
of them may connect. nginx uses this spelling in set_real_ip_from."""

REMEMBERED_PEERS = 1024


def parse_peers(text: str) -> tuple[str, ...]:
    """Return the words of a value of `--forwarded-allow-ips`, checked. Raises ValueError, whose text ("must be ...")
    completes a sentence about the value."""
    words = tuple(word.strip() for word in text.split(","))
    for word in words:
        if word not in (UNIX, "*", "none"):
            _network(word)
    return words


def _network(word: str) -> IPv4Network | IPv6Network:
    try:
        if "%" in word:
            raise ValueError("a zone belongs to an interface, and networks do not")
        return ip_network(word)
    except ValueError:
        raise ValueError(f"must be {SYNTAX}{_suggestion(word)}") from None


def _suggestion(word: str) -> str:
    try:
        return f" (did you mean {ip_network(word, strict=False)}?)"
    except ValueError:
        return ""


class Trust:
    """Called with a peer's address in text, "unix:", or "" for an unknown peer; returns True if the peer is trusted.

    texts: values of `--forwarded-allow-ips`. Called for each request with untrusted fields, so results are cached. Any
    thread may call it.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        words = {word for text in texts for word in parse_peers(text)}
        self._all = "*" in words
        self._unix = UNIX in words
        self._networks = [_network(word) for word in words - {UNIX, "*", "none"}]
        self._ipv4 = [
            (int(network.netmask), int(network.network_address))
            for network in self._networks
            if isinstance(network, IPv4Network)
        ]
        """(netmask, network address) of each trusted IPv4 network, as numbers. An address is in the network if its bits
        under the netmask are the network address.
        """
        self._remembered = lru_cache(REMEMBERED_PEERS)(self._covers)

    def __call__(self, peer: str) -> bool:
        return self._remembered(peer)

    def _covers(self, peer: str) -> bool:
        """Find out whether the peer is trusted, without the cache: returns True if it is."""
        if self._all or not peer:
            return self._all
        if peer == UNIX:
            return self._unix
        if ":" not in peer:
            number = int.from_bytes(packed_ipv4(peer), "big")
            return any(number & mask == network for mask, network in self._ipv4)
        address = ip_address(peer.partition("%")[0])  # a link-local peer has a zone
        # A socket that takes IPv4 as well has IPv4 peers mapped into IPv6 (RFC 4291 section 2.5.5.2).
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)
