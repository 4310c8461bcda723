"""The watch over requests that exceed `--request-timeout`, with requests and a clock that are made up."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from septet.observers import Observers
from septet.processes.request_watch import RequestWatch

LATE_NS = -(10**12)
"""Added to when a request began: long enough ago."""


class Running(SimpleNamespace):
    """A request, as a process model knows it: it notes that it was ended."""

    ended = False
    loop = task = None
    needs_loop = False
    begun = True

    def end(self) -> None:
        self.ended = True

    def thread(self) -> None:
        return None

    def loop_runs(self, within_s: float) -> None:
        return None


def exchange(target: bytes) -> Any:
    client = ("192.0.2.1", 50000)
    request = SimpleNamespace(has_body=False, method="GET", target=target, version=b"HTTP/1.1", client=client)
    return SimpleNamespace(request=request, answered=False, status=0, responding=False, peer=client[0], client=client)


class Hashable(SimpleNamespace):
    __hash__ = object.__hash__  # type: ignore[assignment]


def begin(watch: RequestWatch, target: bytes) -> Any:
    made = Hashable(**vars(exchange(target)))
    watch.began(made)
    watch._begun[made] += LATE_NS
    return made


@pytest.mark.parametrize("next_one", [True, False])
def test_what_was_answered_while_it_was_logged_is_left_alone(next_one: bool) -> None:
    """Its connection serves the next request by then, or is idle."""
    watch, running = RequestWatch(0.3), Running()
    late = begin(watch, b"/late")
    watch._find = lambda found: running  # type: ignore[assignment,return-value]

    class Answers(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            late.request = SimpleNamespace(has_body=False, method="GET", target=b"*", version=b"")
            if next_one:
                watch.began(late)

    handler = Answers()
    logging.getLogger("septet").addHandler(handler)
    try:
        watch._look()
    finally:
        logging.getLogger("septet").removeHandler(handler)
    assert not running.ended
    assert not watch._late, "nobody looks later whether it was ended"


def test_the_next_request_of_another_connection_is_not_late() -> None:
    """It began while the first late request was looked at."""
    watch = RequestWatch(0.3)
    first, other = begin(watch, b"/first"), begin(watch, b"/other")
    ended = []

    def find(found: Any) -> Any:
        if found is first:
            watch.ended(other)
            watch.began(other)
        ended.append(found)
        return Running()

    watch._find = find
    watch._look()
    assert ended == [first]


def test_no_observer_leaves_its_state_to_the_next_request() -> None:
    class Keeps:
        def began(self, exchange: Any) -> None:
            exchange.observer_state = 1

        def ended(self, exchange: Any) -> None:
            pass

        closed = ended

    both = Observers(Keeps(), Keeps())  # type: ignore[arg-type]
    for end in (both.ended, both.closed):
        seen = SimpleNamespace(observer_state=None)
        both.began(seen)  # type: ignore[arg-type]
        end(seen)  # type: ignore[arg-type]
        assert seen.observer_state is None
