"""The corpus of raw requests against the engine: each case whole, byte by byte, in random pieces and head by head.

`tests/contract/test_corpus.py` sends the same over sockets, to every model.
"""

import pytest

from corpus.cases import CASES, Case
from septet.http.incoming import Limits
from support.feeding import TAIL
from support.lives import WAYS, Life
from support.messages import DELIVERIES, head_by_head

LIMITS = Limits()
"""The same limits for all cases, and so the same cache of heads: a cached head must mean the same."""

LONG = 5000
"""Bytes; a longer case is read in one way only if it comes byte by byte."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    """Each way of delivery and of reading, and another request after it, which must be answered, or must not."""
    data = case.data if case.ends else case.data + TAIL
    for delivery, deliver in {**DELIVERIES, "head by head": head_by_head}.items():
        for way in WAYS if delivery != "byte by byte" or len(data) < LONG else WAYS[:1]:
            life = Life(deliver(data), way, LIMITS).live(case.ends)
            difference = case.difference(life.answers, life.closed)
            assert difference is None, f"{difference}\n{way}, {delivery}, {case.why}\n{case.data[:300]!r}"
