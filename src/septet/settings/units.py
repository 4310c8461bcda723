"""Sizes and durations as people write them: `500M`, `16MiB`, `65536`; `90s`, `5m`, `250ms`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

SYNTAX = "a number of bytes, or of K, M or G, such as 500M"
"""What `parse_size` accepts, to follow "must be"."""


@dataclass(frozen=True, slots=True)
class Units:
    """Units that may follow a number."""

    words: str
    """The units in words, to follow "a number of seconds"."""
    pattern: str
    """Regular expression of a number with a unit, of Python and of ECMA-262. Its groups are the number and the unit."""
    factors: Mapping[str, float]

    def parse(self, text: str) -> float:
        """Return the number that `text`, a number with a unit, means. Raises ValueError."""
        found = re.fullmatch(self.pattern, text)
        if found is None:
            raise ValueError(text)
        return float(found[1]) * self.factors[found[2].lower()]


OF_BYTES = Units(
    "or of K, M or G, such as 16M",
    "^([0-9]{1,10})([KMGkmg])(?:[iI]?[bB])?$",
    {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30},
)
"""Powers of 1024, as in nginx and systemd: 16M, 16m, 16MB and 16MiB are the same."""

OF_TIME = Units(
    "or with ms, s, m or h, such as 90s",
    "^([0-9]{1,10}(?:[.][0-9]{1,6})?)(ms|s|m|h)$",
    {"ms": 0.001, "s": 1, "m": 60, "h": 3600},
)


def parse_size(text: str) -> int:
    """Return the number of bytes that `text` gives; K, M and G are powers of 1024. Raises ValueError("must be ...")."""
    plain = re.fullmatch("([0-9]{1,16})B?", text.upper())
    try:
        size = int(plain[1] if plain else OF_BYTES.parse(text))
    except ValueError:
        size = 0
    if not size:
        raise ValueError(f"must be {SYNTAX}")
    return size
