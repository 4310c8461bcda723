"""The watch over requests that exceed `--request-timeout`, with requests and a clock that are made up."""

import logging
from collections.abc import Callable
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest

from septet.observers import Observers
from septet.processes.request_watch import ANSWERED, CUT, LATER, LOG_S, MEANWHILE, RequestWatch

LATE_NS = -(10**12)
"""Added to when a request began: long enough ago."""


class Running(SimpleNamespace):
    """A request, as a process model knows it: it notes that it was ended."""

    ended = False
    outcome: str | None = ANSWERED
    loop = task = None
    begun = True

    def end(self, within_s: float, is_over: Callable[[], bool]) -> str | None:
        if is_over():
            return None
        self.ended = True
        return self.outcome

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
def test_what_was_answered_while_the_stacks_were_read_is_left_alone(
    next_one: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connection serves the next request by then, or is idle; and the record does not say that it was ended."""
    watch, running = RequestWatch(0.3), Running()
    late = begin(watch, b"/late")
    watch._find = lambda found: running  # type: ignore[assignment,return-value]

    def answered(found: object) -> str:
        late.request = SimpleNamespace(has_body=False, method="GET", target=b"*", version=b"")
        if next_one:
            watch.began(late)
        return "the stacks"

    monkeypatch.setattr(watch, "_stacks", answered)
    watch._look()
    assert not running.ended
    assert not watch._late, "nobody looks later whether it was ended"
    (record,) = caplog.messages
    assert "GET /late of 192.0.2.1" in record
    assert f"; {MEANWHILE}the stacks" in record.replace("\n", "")


def test_the_next_request_is_not_taken_for_the_late_one(caplog: pytest.LogCaptureFixture) -> None:
    """Whose answer ended while it was looked for; it is watched still."""
    watch, running = RequestWatch(0.3), Running()
    late = begin(watch, b"/late")

    def find(found: object) -> Running:
        watch.ended(late)
        watch.began(late)
        return running

    watch._find = find  # type: ignore[assignment]
    watch._look()
    assert not running.ended
    assert late in watch._begun
    assert caplog.messages == []


def test_an_equal_request_that_follows_is_not_ended(caplog: pytest.LogCaptureFixture) -> None:
    """Requests with the same head are one object, so that alone does not show which of them is answered."""
    watch = RequestWatch(0.3)
    late = begin(watch, b"/late")

    class FollowedSoon(Running):
        def end(self, within_s: float, is_over: Callable[[], bool]) -> str | None:
            watch.ended(late)
            watch.began(late)
            return super().end(within_s, is_over)

    running = FollowedSoon()
    watch._find = lambda found: running  # type: ignore[assignment,return-value]
    watch._look()
    assert not running.ended
    assert MEANWHILE in caplog.text


@pytest.mark.parametrize(("outcome", "says"), [(ANSWERED, ANSWERED), (CUT, CUT), (LATER, LATER), (None, MEANWHILE)])
def test_the_record_says_what_has_become_of_the_request(
    outcome: str | None, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Which is decided before it is logged: between the two the application may answer."""
    watch, running = RequestWatch(0.3), Running(outcome=outcome)
    begin(watch, b"/late")
    watch._find = lambda found: running  # type: ignore[assignment,return-value]
    watch._look()
    (record,) = caplog.messages
    assert f"; {says}\n" in record
    assert [each.running for each in watch._late] == ([] if outcome is None else [running])


def test_process_does_not_end_between_the_end_of_a_request_and_its_record() -> None:
    """A child that was forked for a client would, as soon as its client has the answer."""
    watch, running = RequestWatch(0.3), Running()
    begin(watch, b"/late")
    watch._find = lambda found: running  # type: ignore[assignment,return-value]
    logging_it, logged, told = Event(), Event(), []

    class Waits(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert running.ended
            logging_it.set()
            told.append(logged.wait(20))

    handler = Waits()
    logging.getLogger("septet").addHandler(handler)
    looks, stops = Thread(target=watch._look), Thread(target=watch.stop)
    try:
        looks.start()
        assert logging_it.wait(20)
        stops.start()
        stops.join(LOG_S / 10)
        assert stops.is_alive()
        logged.set()
        stops.join()
        assert told == [True]
    finally:
        logged.set()
        looks.join()
        logging.getLogger("septet").removeHandler(handler)


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
