"""An id for each request (`--request-id`), by which the lines about it in the logs of several programs are found.

A trusted proxy may have given the request an id already; it is kept. An id from any other peer is replaced: a client
that chose the id of another client's request would have its own lines found beside that one's.
"""

import os
import re
from collections.abc import Callable

from septet.exchange import Request

_GOOD = re.compile(rb"[A-Za-z0-9._~+/=@:-]{1,128}")
"""Ids that are taken from a proxy: no character that is special in a log, in HTML or in a shell."""


class RequestId:
    """Gives each request an id in the header field `name` (in lower case). `trusts` returns True if the peer at an
    address is a trusted proxy, whose ids are kept.
    """

    def __init__(self, name: bytes, trusts: Callable[[str], bool]) -> None:
        self.name = name
        self._trusts = trusts

    def __call__(self, request: Request, peer: str) -> tuple[Request, str]:
        """Return the request as the application is to see it, and its id. `peer`: the peer's address, "unix:", or "" if
        unknown.
        """
        given = [value for name, value in request.fields if name == self.name]
        if len(given) == 1 and _GOOD.fullmatch(given[0]) and self._trusts(peer):
            return request, given[0].decode("ascii")
        made = os.urandom(16).hex()
        kept = tuple(field for field in request.fields if field[0] != self.name) if given else request.fields
        untrusted_fields = request.untrusted_fields
        changed = request.with_trusted((*kept, (self.name, made.encode("ascii"))), request.scheme, request.client)
        changed.untrusted_fields = untrusted_fields
        return changed, made
