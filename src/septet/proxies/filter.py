"""Which of a request's untrusted fields reach the application, and what they say about the request.

Untrusted are the fields that only a trusted proxy may send (see `forwarded`), and those whose names have an underscore:
WSGI does not distinguish `X_Auth` from `X-Auth`. The parser (`http.sections`) sets them aside, so a request without any
costs nothing here. Without a filter they are dropped.
"""

from collections.abc import Callable

from septet.exchange import Fields, ProtocolError, Request
from septet.http.cache import BoundedCache
from septet.http.grammar import is_from_proxies
from septet.proxies.forwarded import Hop, hops, select_kind, sole_hop, walk

REMEMBERED_CLIENTS = 1024
REMEMBERED_BYTES = 512
"""Bytes. Results are cached for untrusted fields whose names and values have at most this many bytes together. The
requests of one client differ, but what proxies say about them does not."""

Findings = tuple[Fields, Hop]
"""The untrusted fields that the application may see, and what they say about the client (`forwarded.walk`)."""


class UntrustedFieldFilter:
    """Decides which untrusted header fields reach the application: called with a request, it returns the request with
    only those of its untrusted fields that its peer may send.

    `trusts` returns True if the peer at an address (or "unix:", for all peers on unix sockets) is a trusted proxy.
    `trusted_headers` names the fields that such a proxy writes: "x-forwarded", "forwarded", or "either". `underscores`
    says what happens to fields whose names have an underscore: "drop", "refuse" (400) or "allow". Any thread may use
    it.
    """

    def __init__(
        self, trusts: Callable[[str], bool], trusted_headers: str = "either", underscores: str = "drop"
    ) -> None:
        self._trusts = trusts
        self._trusted_headers = trusted_headers
        self._underscores = underscores
        self._cache: BoundedCache[tuple[bool, Fields], Findings] = BoundedCache(REMEMBERED_CLIENTS)

    def __call__(self, request: Request, peer: str) -> Request:
        """Return `request` as the application is to see it. `peer`: the peer's address, "unix:", or "" if unknown.
        Raises ProtocolError(400) for malformed fields of a trusted proxy.

        The result is kept in a request object that later requests with the same head share.
        """
        trusted = self._trusts(peer)
        if not trusted and self._underscores == "drop":
            return request  # none is kept
        if request.derived is None:
            return self._filter(request, trusted)
        with_trusted: Request | None = request.derived.get((self, trusted))
        if with_trusted is None:
            with_trusted = request.derived[self, trusted] = self._filter(request, trusted)
            with_trusted.derived = with_trusted.derived or {}
        return with_trusted

    def _filter(self, request: Request, trusted: bool) -> Request:
        kept, hop = self._cache.get((trusted, request.untrusted_fields)) or self._evaluate(
            request.untrusted_fields, trusted
        )
        if not kept:
            return request
        fields = _with_host(request.fields, hop.host) + kept
        return request.with_trusted(fields, hop.scheme or request.scheme, hop.node)

    def _evaluate(self, untrusted_fields: Fields, trusted: bool) -> Findings:
        usual = sole_hop(untrusted_fields) if trusted and self._trusted_headers != "forwarded" else None
        findings = self._judge(untrusted_fields, trusted) if usual is None else (untrusted_fields, usual)
        if sum([len(name) + len(value) for name, value in untrusted_fields]) <= REMEMBERED_BYTES:
            self._cache.add((trusted, untrusted_fields), findings)
        return findings

    def _judge(self, untrusted_fields: Fields, trusted: bool) -> Findings:
        """Return what `_evaluate` returns, in any case."""
        kept = tuple(
            [
                field
                for field in untrusted_fields
                if (trusted if field[0].find(b"_") < 0 else self._keeps_underscored(field[0]))
            ]
        )
        kept = select_kind(kept, self._trusted_headers)
        return kept, walk(hops(kept), self._trusts)

    def _keeps_underscored(self, name: bytes) -> bool:
        if self._underscores == "refuse":
            raise ProtocolError(400, "the name of a header field has an underscore")
        # Fields that only a proxy may send are dropped in this spelling in any case: proxies do not use it.
        return self._underscores == "allow" and not is_from_proxies(name.replace(b"_", b"-"))


def _with_host(fields: Fields, host: bytes | None) -> Fields:
    """Return `fields` with `host` in place of the value of Host; unchanged if `host` is None."""
    if host is None:
        return fields
    return ((b"host", host), *(field for field in fields if field[0] != b"host"))
