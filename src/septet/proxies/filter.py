"""Which of a request's doubtful fields reach the application, and what they say of the request.

Doubtful are the fields that mean one thing from a proxy of ours and another from anybody else (see `forwarded`), and
those whose names have an underscore: to WSGI, `X_Auth` and `X-Auth` are one. `head` sets them aside, so that a request
without any costs nothing here; where nobody vets a request, they are gone.
"""

from collections.abc import Callable

from septet.exchange import Fields, ProtocolError, Request
from septet.http.cache import BoundedCache
from septet.http.grammar import is_from_proxies
from septet.proxies.forwarded import Hop, hops, of_one_kind, walk

REMEMBERED_CLIENTS = 1024
REMEMBERED_BYTES = 512
"""Of names and values: a client's requests differ, but what the proxies say of them does not."""

Findings = tuple[Fields, Hop]
"""Which of the doubtful fields are kept, and what they say of the request."""


class UntrustedFieldFilter:
    """What a server believes, of whom.

    `trusts` says whether the peer at an address (or `unix:`, for all peers on unix sockets) is a proxy of ours.
    `trusted_headers` names the fields that such a proxy writes: x-forwarded, forwarded, or either. `underscores` says
    what becomes of names with one: drop, refuse or allow.
    """

    def __init__(
        self, trusts: Callable[[str], bool], trusted_headers: str = "either", underscores: str = "drop"
    ) -> None:
        self._trusts = trusts
        self._trusted_headers = trusted_headers
        self._underscores = underscores
        self._cache: BoundedCache[tuple[bool, Fields], Findings] = BoundedCache(REMEMBERED_CLIENTS)

    def __call__(self, request: Request, peer: str) -> Request:
        """`request` as the application shall see it. Raises ProtocolError(400).

        Kept beside the request, since heads repeat.
        """
        trusted = self._trusts(peer)
        with_trusted: Request | None = request.derived.get((self, trusted))
        if with_trusted is None:
            with_trusted = request.derived[self, trusted] = self._filter(request, trusted)
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
        kept = tuple(field for field in untrusted_fields if self._keeps(field[0], trusted))
        kept = of_one_kind(kept, self._trusted_headers)
        findings = kept, walk(hops(kept), self._trusts)
        if sum(len(name) + len(value) for name, value in untrusted_fields) <= REMEMBERED_BYTES:
            self._cache.add((trusted, untrusted_fields), findings)
        return findings

    def _keeps(self, name: bytes, trusted: bool) -> bool:
        if b"_" not in name:
            return trusted
        if self._underscores == "refuse":
            raise ProtocolError(400, "the name of a header field has an underscore")
        # What only a proxy may say is dropped in this spelling, whoever says it: proxies do not write it.
        return self._underscores == "allow" and not is_from_proxies(name.replace(b"_", b"-"))


def _with_host(fields: Fields, host: bytes | None) -> Fields:
    """`fields`, with `host` in the place of the proxy's."""
    if host is None:
        return fields
    return ((b"host", host), *(field for field in fields if field[0] != b"host"))
