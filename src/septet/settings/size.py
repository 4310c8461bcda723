"""Sizes as people write them: `500M`, `2G`, `65536`."""

import re

SYNTAX = "a number of bytes, or of K, M or G, such as 500M"

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30}


def parse_size(text: str) -> int:
    """Return the number of bytes that `text` gives; K, M and G are powers of 1024. Raises ValueError("must be ...")."""
    found = re.fullmatch(r"([1-9][0-9]{0,15})([KMG]?)B?", text.upper())
    if found is None:
        raise ValueError(f"must be {SYNTAX}")
    return int(found[1]) << _UNITS[found[2]]
