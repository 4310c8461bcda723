"""How orders to a running server have ended: what `septet control reload` waits for, and `septet status` shows."""

from time import time
from typing import Any


class Outcomes:
    """Numbers the orders that are given at the control socket, and keeps how the last order to reload or to upgrade has
    ended, whether it was given there or as a signal. Only the main thread of the supervisor uses it.

    Orders to the supervisor are carried out one after the other, and several that wait are carried out together. So an
    order has ended when `ended` has reached the number that `give` has returned for it.
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        """`state`: what `known` returned in the program that this one has replaced in the same process (at USR2); None:
        there was no such program.
        """
        state = state or {}
        self._given: int = state.get("given", 0)
        self._begun: int = state.get("begun", 0)
        self._ended: int = state.get("ended", 0)
        self._kind: str = state.get("kind", "")
        """The kind of the order that is being carried out, "reload" or "upgrade"; "" if there is none."""
        self._last: dict[str, Any] | None = state.get("last")
        self._waiting: set[str] = set()
        """The kinds of the orders that were given at the control socket and are not carried out yet."""

    def give(self, kind: str) -> int:
        """Return the number of an order that is being given at the control socket: one more than that of the order
        before. kind: "reload" or "upgrade".
        """
        self._given += 1
        self._waiting.add(kind)
        return self._given

    def begin(self, kind: str) -> bool:
        """Note that all orders given so far are carried out from now on: at the next `end` all of them have ended.
        `kind` is "reload" or "upgrade". Returns True if an order of this kind was given at the control socket, False
        if only a signal was sent.
        """
        was_given = kind in self._waiting
        self._waiting.discard(kind)
        self._begun, self._kind = self._given, kind
        return was_given

    def end(self, text: str, failed: bool) -> str:
        """Note that a new generation (a process that loads and serves the application) has started, or could not be
        started (`failed`); the order that was being carried out has then ended. text: which generation serves, or why
        it could not be started. Returns a text about a failure, to be shown as an event; "" if there was none.
        """
        kind, self._kind, self._ended = self._kind or "restart", "", self._begun
        self._last = {"at": round(time(), 1), "kind": kind, "failed": failed, "text": text}
        return f"the {kind} failed: {text}" if failed else ""

    def known(self) -> dict[str, Any]:
        """Return the numbers of orders and the outcome of the last one as values for JSON: for /status.json, and for
        the program that replaces this one.
        """
        numbers = {"given": self._given, "begun": self._begun, "ended": self._ended}
        return {**numbers, "kind": self._kind, "last": self._last}
