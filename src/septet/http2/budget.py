"""Bounds the useless work that a client can ask for, so that a flood of frames ends the connection.

A frame that costs the server work but brings no request and no content (PING, SETTINGS, PRIORITY, empty DATA, a reset
of a request that was just begun) takes one from an allowance. Useful activity gives back: requests, content that moves,
and time. So an ordinary client may send such frames for ever, and a flood ends after a known number of frames of any
kind: CVE-2019-9512 (ping), 9513 (priority), 9515 (settings), 9518 (empty frames), CVE-2023-44487 (rapid reset),
CVE-2025-8671 (resets that the server is made to send).
"""


class FloodError(Exception):
    """The client has used up its allowance: the connection must be ended with ENHANCE_YOUR_CALM."""


class Allowance:
    """A number of useless frames that may still come: `spend` lowers it, `earn` raises it, up to its initial value
    `most`. `what` names what is counted, in the plural, for the log message.
    """

    __slots__ = ("_left", "_most", "_what")

    def __init__(self, most: int, what: str) -> None:
        self._most = self._left = most
        self._what = what
        """What is counted, in the plural, such as "streams that were reset"; for the log message."""

    def spend(self, count: int = 1) -> None:
        """Take `count` from the allowance. Raises FloodError if it is not enough."""
        self._left -= count
        if self._left < 0:
            raise FloodError(f"too many {self._what}")

    def earn(self, count: int) -> None:
        """Add `count` to the allowance, up to its initial value."""
        self._left = min(self._most, self._left + count)
