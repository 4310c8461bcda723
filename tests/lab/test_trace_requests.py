"""Requests joined from what the user, the server's span log and the recorder have seen of them."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from septet.lab.threads.states import Interval, State
from septet.lab.trace.requests import Request, Turn, from_turns, intervals, join, read_spans, turns_of
from septet.lab.trace.timeline import Lane

PID, TID, PORT = 7, 8, 40000


def span(began: int, ended: int, port: int = PORT) -> dict[str, object]:
    return {"request": "GET /", "client": ["127.0.0.1", port], "status": 200, "began": began, "ended": ended}


def turns(*of: tuple[int, int], port: int = PORT) -> dict[str, object]:
    return {"turns": [list(turn) for turn in of], "client": ["127.0.0.1", port], "process": PID, "thread": TID}


def test_span_log() -> None:
    whole = [span(1, 2), turns((1, 2))]
    text = "\n".join(json.dumps(line) for line in whole) + '\n{"request": "GET'
    assert read_spans(text) == ([whole[0]], [whole[1]])


def test_joined_by_client_and_time() -> None:
    visits = [(1, PORT, 100, 200, 200), (2, PORT + 1, 100, 200, 200), (1, PORT, 300, 400, 200)]
    spans = [span(310, 390), span(110, 190), span(120, 180, PORT + 1)]
    own = [turns((320, 380)), turns((120, 130), (150, 160))]
    assert join(visits, spans, own) == [
        Request(1, 100, 200, 200, 110, 190, (Turn(PID, TID, 120, 130), Turn(PID, TID, 150, 160))),
        Request(2, 100, 200, 200, 120, 180),
        Request(1, 300, 400, 200, 310, 390, (Turn(PID, TID, 320, 380),)),
    ]


def test_request_of_which_the_server_knows_nothing() -> None:
    visits = [(1, PORT, 100, 200, 0)]
    assert join(visits, [span(50, 60), span(210, 220), {**span(110, 120), "client": None}], []) == [
        Request(1, 100, 200, 0)
    ]


def test_turn_does_what_its_thread_does() -> None:
    lane = Lane(PID, TID, [Interval(0, 130, State.RUNNING), Interval(130, 200, State.BACKEND)])
    request = Request(1, 100, 180, 200, 110, 160, (Turn(PID, TID, 120, 150),))
    assert intervals(request, {TID: lane}) == [
        Interval(100, 110, State.QUEUED),
        Interval(110, 120, State.SUSPENDED),
        Interval(120, 130, State.RUNNING),
        Interval(130, 150, State.BACKEND),
        Interval(150, 180, State.RETURNING),
    ]


def test_between_turns_it_is_suspended() -> None:
    request = Request(1, 100, 180, 200, 100, 160, (Turn(PID, TID, 100, 110), Turn(PID, TID, 140, 150)))
    assert [(each.start, each.state) for each in intervals(request, {})] == [
        (100, State.APPLICATION),
        (110, State.SUSPENDED),
        (140, State.APPLICATION),
        (150, State.RETURNING),
    ]


def test_user_may_have_the_answer_before_the_server_notes_it() -> None:
    request = Request(1, 100, 150, 200, 110, 170, (Turn(PID, TID, 120, 165),))
    lane = Lane(PID, TID, [Interval(0, 1000, State.RUNNING)])
    assert intervals(request, {TID: lane})[-1] == Interval(120, 150, State.RUNNING)


def test_request_that_was_never_begun_was_in_line() -> None:
    assert intervals(Request(1, 100, 150, 0), {}) == [Interval(100, 150, State.QUEUED)]


moments = st.integers(0, 1000)


@given(moments, moments, st.none() | moments, st.lists(st.tuples(moments, moments)), st.lists(moments, unique=True))
def test_neither_gaps_nor_overlaps(
    asked: int, answered: int, began: int | None, own: list[tuple[int, int]], edges: list[int]
) -> None:
    """However little the three clocks agree."""
    asked, answered = sorted((asked, answered))
    request = Request(1, asked, answered, 200, began, began, tuple(Turn(PID, TID, *sorted(one)) for one in sorted(own)))
    edges.sort()
    lane = Lane(PID, TID, [Interval(one, two, State.GIL) for one, two in pairwise(edges)])
    found = intervals(request, {TID: lane}, turns_of([request]))
    assert sum(each.end - each.start for each in found) == answered - asked
    assert all(one.end == two.start for one, two in pairwise(found))


def test_threads_by_their_turns() -> None:
    requests = [
        Request(1, 100, 200, 200, 110, 190, (Turn(PID, TID, 160, 170),)),
        Request(2, 100, 200, 200, 110, 190, (Turn(PID, TID, 120, 130), Turn(PID, TID + 1, 140, 150))),
    ]
    assert from_turns(requests) == [
        Lane(PID, TID, [Interval(120, 130, State.APPLICATION), Interval(160, 170, State.APPLICATION)]),
        Lane(PID, TID + 1, [Interval(140, 150, State.APPLICATION)]),
    ]


def test_a_request_shows_that_its_thread_waits_for_the_gil() -> None:
    """Before the application has it and after: the thread is awake for it. Earlier it served another user."""
    first = Request(1, 90, 130, 200, 100, 120, (Turn(PID, TID, 100, 118),))
    second = Request(2, 100, 180, 200, 150, 172, (Turn(PID, TID, 152, 160),))
    states = [
        Interval(90, 118, State.RUNNING),
        Interval(118, 140, State.EVENTS),
        Interval(140, 150, State.GIL),
        Interval(150, 160, State.RUNNING),
        Interval(160, 170, State.GIL),
        Interval(170, 200, State.EVENTS),
    ]
    lanes = {TID: Lane(PID, TID, states)}
    assert [(each.start, each.state) for each in intervals(second, lanes, turns_of([first, second]))] == [
        (100, State.QUEUED),
        (118, State.QUEUED),
        (140, State.GIL),
        (150, State.SUSPENDED),
        (152, State.RUNNING),
        (160, State.GIL),
        (170, State.RETURNING),
    ]
