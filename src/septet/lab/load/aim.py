"""A target while it is asked for: how a right answer to it looks."""

from __future__ import annotations

from .answer import Answer, Framing
from .plan import ANY_LENGTH, PLACE, Target
from .tally import Series

LONGEST_KNOWN = 65536  # bytes; longer ones do not come in one piece


class Aim:
    """One target of the plan, the last right answer to it, and what the next one must be like."""

    __slots__ = (
        "_first_body",
        "_seen",
        "closes",
        "expected_length",
        "framing",
        "index",
        "known",
        "known_bytes",
        "series",
        "target",
    )

    def __init__(self, index: int, target: Target, closes: bool = False) -> None:
        self.index = index
        self.closes = closes  # its request says that the connection ends with it
        self._seen = 0  # right answers that were looked at, as long as two have not been
        self.target = target
        self.expected_length = target.expect_length
        self.series: Series  # where the latencies of requests go that begin now
        self.known: bytes | None = None  # a right answer, whole; one that equals it needs no second look
        self.known_bytes = 0  # of its body
        self.framing: Framing  # its
        self._first_body: bytes | None = None

    def path_of(self, user: int) -> bytes:
        """What this user asks for."""
        return self.target.path.replace(PLACE, str(user)).encode("ascii")

    def new_answer(self) -> Answer:
        target = self.target
        return Answer(bodiless=target.method == "HEAD", keeps_body=bool(target.expect_text) or target.same_body)

    def objection(self, answer: Answer) -> str | None:
        """The kind of error that a complete answer is, or None when nothing is wrong with it."""
        assert answer.framing is not None, "a complete answer has a head"
        status, target = answer.framing.status, self.target
        if status != target.status if target.status else not 200 <= status < 400:
            return f"status {status}"
        self._learn_length(answer.body_bytes)
        if self.expected_length not in (answer.body_bytes, ANY_LENGTH):
            return "length"
        if answer.keeps_body:
            return self._objection_to_body(bytes(answer.body))
        return None

    def _learn_length(self, length: int) -> None:
        """As in the first right answer; a page whose second one has another is a page whose length varies."""
        if self._seen < 2 and self.target.expect_length is None:
            varies = self._seen and length != self.expected_length
            self.expected_length = ANY_LENGTH if varies else length
        self._seen += 1

    def _objection_to_body(self, body: bytes) -> str | None:
        if self.target.expect_text and self.target.expect_text.encode() not in body:
            return "body"
        if self.target.same_body:
            if self._first_body is None:
                self._first_body = body
            return None if body == self._first_body else "body"
        return None

    def remember(self, data: bytes, framing: Framing, body_bytes: int) -> None:
        """Know this right answer again; `data` is all of it."""
        if len(data) < LONGEST_KNOWN and self._seen > 1:
            self.known, self.framing, self.known_bytes = data, framing, body_bytes
