"""The numbers of users at which contenders are laid side by side, when nobody names one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from septet.lab.summary import Summary

MOST_OF_THEM = 0.75


def focus(cells: Sequence[Summary]) -> int:
    """The greatest number of users that most contenders could serve: there is more to see than where all are idle."""
    served = _served(cells)
    if not served:
        return max(cell.users for cell in cells)
    enough = MOST_OF_THEM * max(served.values())
    return max(users for users, contenders in served.items() if contenders >= enough)


def landmarks(cells: Sequence[Summary]) -> list[int]:
    """That, and the greatest number that more than one of them, or whoever there is, could serve."""
    served = _served(cells)
    several = [users for users, contenders in served.items() if contenders > 1]
    return sorted({focus(cells), max(several or served or [focus(cells)])})


def _served(cells: Sequence[Summary]) -> Counter[int]:
    return Counter(cell.users for cell in cells if cell.figures)
