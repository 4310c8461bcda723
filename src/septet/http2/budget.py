"""What a client may do without use before its connection is ended: bounds for floods.

Each frame that costs the server work and brings no request and no content (PING, SETTINGS, PRIORITY, empty DATA, a
reset of a request that was just begun) takes from an allowance. What clients do in earnest gives back: requests that
are answered, content that moves, and time. So a client that works may do all of this for ever, and a flood ends after a
number of frames that is known, whatever their kind: CVE-2019-9512 (ping), 9513 (priority), 9515 (settings), 9518 (empty
frames), CVE-2023-44487 (rapid reset), CVE-2025-8671 (resets that the server is made to send).
"""


class FloodError(Exception):
    """The client has used up its allowance: the connection is to be ended with ENHANCE_YOUR_CALM."""


class Allowance:
    """A number that `spend` lowers and `earn` raises, up to where it began (`most`)."""

    __slots__ = ("_left", "_most", "_what")

    def __init__(self, most: int, what: str) -> None:
        self._most = self._left = most
        self._what = what
        """What is bounded, for the sentence in the log."""

    def spend(self, count: int = 1) -> None:
        """Take `count`. Raises FloodError if so much is not left."""
        self._left -= count
        if self._left < 0:
            raise FloodError(f"too many {self._what}")

    def earn(self, count: int) -> None:
        """Give back `count`, up to the beginning."""
        self._left = min(self._most, self._left + count)
