"""Content codings: which files stand beside a file for them, and which of them a client likes best.

RFC 9110 section 12.5.3. Nothing is compressed here: `page.html.br` beside `page.html` has been, by whoever made it.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

IDENTITY = b"identity"

SUFFIXES = {b"br": b".br", b"zstd": b".zst", b"gzip": b".gz"}
"""Of the names of such files. Of codings that a client likes equally the first is taken: the smallest, as a rule."""

_LEAST = 0.0001
"""Below every weight that can be written: acceptable, where nothing better is (section 12.5.3, rule 2)."""

_MOST_CODINGS = 64
"""More than there are registered; what a client says beyond that is not read."""

_coding = re.compile(
    rb"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?"
).fullmatch


class Accepted:
    """What a client says of content codings: the value of Accept-Encoding, None where it says nothing."""

    def __init__(self, value: bytes | None) -> None:
        # A client that says nothing may be given anything (rule 1); in truth such clients decode nothing.
        self._weights = _weights(value) if value is not None else {b"*": 0.0, IDENTITY: 1.0}
        self.identity = self.weight(IDENTITY) > 0
        """A file as it is will do."""

    def weight(self, coding: bytes) -> float:
        """From 0, not acceptable, to 1, the best."""
        known = self._weights.get(coding)
        if known is None:
            known = self._weights.get(b"*", _LEAST if coding == IDENTITY else 0.0)
        return known

    def best(self, codings: Iterable[bytes]) -> bytes | None:
        """The coding that the client likes best, the first of several; None when it accepts none."""
        best = max(codings, key=self.weight)
        return best if self.weight(best) > 0 else None


read_accepted = lru_cache(64)(Accepted)
"""There are about as many values as there are browsers."""


def _weights(value: bytes) -> dict[bytes, float]:
    """The weight of each coding that is named; what is malformed is passed over."""
    weights = {}
    for element in value.split(b",", _MOST_CODINGS)[:_MOST_CODINGS]:
        if matched := _coding(element):
            name = matched[1].lower()
            # RFC 9110 section 8.4.1.3: x-gzip is the same.
            weights[b"gzip" if name == b"x-gzip" else name] = float(matched[2] or 1)
    return weights
