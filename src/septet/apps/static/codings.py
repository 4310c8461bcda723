"""Content codings: the suffixes of compressed files, and the choice of the one that a client prefers.

RFC 9110 section 12.5.3. The server compresses nothing: it serves `page.html.br` if that exists beside `page.html`.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

IDENTITY = b"identity"

SUFFIXES = {b"br": b".br", b"zstd": b".zst", b"gzip": b".gz"}
"""The suffix of a compressed file by its coding. If a client accepts several equally, the first is sent: usually the
smallest."""

_LEAST = 0.0001
"""The weight of the file without a coding if Accept-Encoding does not name "identity": it is acceptable (RFC 9110
section 12.5.3, rule 2), but less than every weight that can be written.
"""

_MOST_CODINGS = 64
"""Most elements of Accept-Encoding that are parsed; there are fewer registered codings."""

_coding = re.compile(
    rb"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?"
).fullmatch


class Accepted:
    """The codings that a client accepts. `value`: its Accept-Encoding, or None if it sent none."""

    def __init__(self, value: bytes | None) -> None:
        # Without the field any coding is acceptable (rule 1); but in fact such clients decode none.
        self._weights = _weights(value) if value is not None else {b"*": 0.0, IDENTITY: 1.0}
        self.identity = self.weight(IDENTITY) > 0
        """True if the file itself, without a coding, is acceptable."""

    def weight(self, coding: bytes) -> float:
        """Return the weight of a coding, from 0 (not acceptable) to 1 (preferred)."""
        known = self._weights.get(coding)
        if known is None:
            known = self._weights.get(b"*", _LEAST if coding == IDENTITY else 0.0)
        return known

    def best(self, codings: Iterable[bytes]) -> bytes | None:
        """Return the coding with the highest weight; if several have it, the first of them. None if no coding is
        acceptable.
        """
        best = max(codings, key=self.weight)
        return best if self.weight(best) > 0 else None


read_accepted = lru_cache(64)(Accepted)
"""`Accepted(value)`, cached for the last 64 values of Accept-Encoding: there are about as many different ones as there
are browsers.
"""


def _weights(value: bytes) -> dict[bytes, float]:
    """Return the weight of each coding in Accept-Encoding; malformed elements are ignored."""
    weights = {}
    for element in value.split(b",", _MOST_CODINGS)[:_MOST_CODINGS]:
        if matched := _coding(element):
            name = matched[1].lower()
            # RFC 9110 section 8.4.1.3: x-gzip means gzip.
            weights[b"gzip" if name == b"x-gzip" else name] = float(matched[2] or 1)
    return weights
