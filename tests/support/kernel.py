"""Which Linux this is, for what not every one tells."""

import os
import re


def kernel() -> tuple[int, int]:
    """The first two numbers of its release."""
    major, minor = re.findall(r"\d+", os.uname().release)[:2]
    return int(major), int(minor)
