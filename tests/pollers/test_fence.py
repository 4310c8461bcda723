"""The memory barrier of rings that threads share."""

from itertools import count

from septet.pollers._queues import Fence
from support.struck import struck_at


def test_a_fence_that_was_interrupted_anywhere_works_again() -> None:
    fence = Fence()
    for number in count():
        if not struck_at(number, fence):
            break
        for _ in range(2):
            fence()
    assert number > 3
