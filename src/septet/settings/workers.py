"""The value of `--workers`: a number, or a range `MIN-MAX` in which the number follows the load."""

import re
from typing import Any


class WorkerCount(int):
    """A number of workers; of a range such as 2-8, the smallest one, with the largest in `most`. `str` returns the text
    as it was written.
    """

    most: int
    """The largest number of the range; the number itself if there is no range."""

    def __new__(cls, text: Any) -> "WorkerCount":
        """Parse `text`: a number, "4", or a range, "2-8". Raises ValueError."""
        found = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", str(text))
        if found is None:
            raise ValueError(text)
        count = super().__new__(cls, found[1])
        count.most = int(found[2] or found[1])
        return count

    @classmethod
    def from_toml(cls, value: object) -> "WorkerCount":
        """Convert a value of TOML: a number, or a text such as "2-8". Raises ValueError."""
        if type(value) not in (int, str):
            raise ValueError(value)
        return cls(value)

    @property
    def is_range(self) -> bool:
        return self.most != int(self)

    def __str__(self) -> str:
        return f"{int(self)}-{self.most}" if self.is_range else int.__repr__(self)

    __repr__ = __str__


class CountOrRange:
    """A rule: a whole number from 1 on, or a range of such numbers."""

    def allowed(self) -> str:
        return "a whole number from 1, or a range MIN-MAX such as 2-8"

    def check(self, value: int) -> None:
        if not 1 <= value <= most_workers(value):
            raise ValueError(f"must be {self.allowed()}")


def most_workers(count: int) -> int:
    """Return the largest number of a range of workers; the number itself if it is not a range."""
    return getattr(count, "most", count)
