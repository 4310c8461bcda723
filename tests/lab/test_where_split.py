"""A request's time in parts: joined from made-up records of its user, the span log and samples."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.lab.threads.states import Sample, State
from septet.lab.where import parts
from septet.lab.where.parts import KEYS, PARTS
from septet.lab.where.split import Piece, Request, join, pieces, split

HERE = "127.0.0.1"
PID, TID, PORT = 7, 8, 40000
MS = 1_000_000


def span(accepted: int | None, began: int, ended: int, port: int = PORT) -> dict[str, object]:
    return {"client": [HERE, port], "accepted": accepted, "began": began, "ended": ended}


def turns(*of: tuple[int, int], interface: str = "wsgi", cpu: int = 0, port: int = PORT) -> dict[str, object]:
    where = {"process": PID, "thread": TID, "interface": interface}
    return {"turns": [list(turn) for turn in of], "cpu": cpu, "client": [HERE, port], **where}


def lengths(request: Request, before: int = 0) -> dict[str, int]:
    found = dict.fromkeys(KEYS, 0)
    for piece in pieces(request, before):
        found[piece.part] += piece.end - piece.start
    return {part: length for part, length in found.items() if length}


def test_each_part_from_instant_to_instant() -> None:
    (request,) = join([(HERE, PORT, 100, 190, 190)], [span(110, 130, 180)], [turns((150, 175))])
    assert lengths(request) == {
        parts.LISTEN: 10,
        parts.BUFFER: 20,
        parts.THREAD: 20,
        parts.APPLICATION: 25,
        parts.WRITING: 5,
        parts.OTHER: 10,
    }


def test_joined_by_address_port_and_time() -> None:
    visits = [(HERE, PORT, 100, 190, 190), ("127.0.0.2", PORT, 100, 200, 200), (HERE, PORT, 300, 400, 400)]
    spans = [span(105, 310, 390), span(105, 110, 180), {**span(105, 120, 170), "client": ["127.0.0.2", PORT]}]
    found = join(visits, spans, [turns((320, 380)), turns((120, 130))])
    assert [(each.asked, each.began, each.turns) for each in found] == [
        (100, 110, ((120, 130),)),
        (100, 120, ()),
        (300, 310, ((320, 380),)),
    ]


def test_request_that_the_span_log_does_not_know_is_left_out() -> None:
    assert join([(HERE, PORT, 100, 190, 190)], [span(10, 20, 30)], []) == []
    assert split([], []) is None


def test_no_listen_queue_on_a_kept_connection() -> None:
    request = Request(100, 190, 190, accepted=20, began=130, ended=190)
    assert parts.LISTEN not in lengths(request)
    assert lengths(request)[parts.BUFFER] == 30


def test_what_is_not_known_is_other() -> None:
    request = Request(100, 190, 190, accepted=None, began=130, ended=180, turns=((130, 180),), tid=TID)
    assert lengths(request) == {parts.OTHER: 40, parts.APPLICATION: 50}


def test_between_two_turns() -> None:
    """A generator of WSGI stands still while its part is written; a coroutine while it awaits."""
    request = Request(100, 200, 200, 100, 100, 200, turns=((100, 120), (160, 200)), tid=TID)
    assert lengths(request) == {parts.APPLICATION: 60, parts.WRITING: 40}
    assert lengths(Request(100, 200, 200, 100, 100, 200, ((100, 120), (160, 200)), TID, awaits=True)) == {
        parts.APPLICATION: 100
    }


def test_answer_in_several_pieces_is_written_until_the_user_has_it() -> None:
    assert lengths(Request(100, 120, 200, 100, 100, 150)) == {parts.WRITING: 100}
    assert lengths(Request(100, 200, 200, 100, 100, 150)) == {parts.WRITING: 50, parts.OTHER: 50}


def test_thread_takes_a_request_when_it_is_done_with_the_one_before() -> None:
    request = Request(100, 200, 200, accepted=150, began=160, ended=190, turns=((170, 180),), tid=TID)
    assert pieces(request, before=140)[:2] == [Piece(100, 140, parts.LISTEN), Piece(140, 150, parts.LISTEN, TID)]


def test_samples_move_waits_to_gil_and_cpu() -> None:
    request = Request(0, 100 * MS, 100 * MS, 0, 0, 100 * MS, ((0, 100 * MS),), TID, cpu_ns=10 * MS)
    states = [State.GIL] * 5 + [State.RUNNING, State.RUNNABLE, State.RUNNABLE] + [State.SLEEP] * 2
    samples = [Sample(place * 10 * MS, PID, TID, state) for place, state in enumerate(states)]
    found = split([request], [*samples, Sample(1, PID, TID + 1, State.GIL), Sample(200 * MS, PID, TID, State.GIL)])
    assert found is not None
    assert found.samples == 10
    assert found.parts_us[parts.GIL] == pytest.approx(50_000)
    assert found.parts_us[parts.CPU] == pytest.approx(20_000)  # it could run for 30 ms, and ran for 10
    assert found.parts_us[parts.APPLICATION] == pytest.approx(30_000)


def test_the_application_has_at_least_its_cpu_time() -> None:
    """However many samples find its thread waiting: they are an estimate, and CPU time is exact."""
    request = Request(0, 100 * MS, 100 * MS, 0, 0, 100 * MS, ((0, 100 * MS),), TID, cpu_ns=30 * MS)
    for states in ([State.GIL] * 10, [State.GIL] * 8 + [State.RUNNABLE] * 2, [State.GIL] * 9 + [State.RUNNING]):
        found = split([request], [Sample(place * 10 * MS, PID, TID, state) for place, state in enumerate(states)])
        assert found is not None
        assert found.parts_us[parts.APPLICATION] == pytest.approx(30_000)
        assert found.parts_us[parts.GIL] + found.parts_us[parts.CPU] == pytest.approx(70_000)


def test_the_thread_that_accepts_holds_up_all_that_it_has_to_accept() -> None:
    visits = [(HERE, PORT + number, 0, 100 * MS, 100 * MS) for number in range(3)]
    spans = [span(accepted, 100 * MS, 100 * MS, PORT + number) for number, accepted in enumerate((10, 40, 100))]
    for line, accepted in zip(spans, (10, 40, 100), strict=True):
        line["accepted"] = accepted * MS
    own = [turns((100 * MS, 100 * MS), port=PORT + number) for number in range(3)]
    found = split(
        join(visits, spans, own, main_accepts=True),
        [Sample(5 * MS, PID, PID, State.LOCK), Sample(20 * MS, PID, PID, State.GIL)],  # 3 wait, and then 2
    )
    assert found is not None
    assert found.parts_us[parts.GIL] == pytest.approx(2 / 5 * 50_000)  # of (10 + 40 + 100) / 3 ms
    assert found.parts_us[parts.LISTEN] == pytest.approx(3 / 5 * 50_000)


@given(
    st.lists(st.integers(0, 1000), min_size=11, max_size=11),
    st.lists(st.tuples(st.integers(0, 1000), st.sampled_from(State)), max_size=20),
    st.booleans(),
)
def test_parts_add_up(instants: list[int], seen: list[tuple[int, State]], awaits: bool) -> None:
    """Whatever the records say: the user may have the answer before the server has noted anything."""
    asked, first, answered = sorted(instants[:3])
    accepted, began, ended, before = instants[3:7]
    start, middle, again, end = sorted(instants[7:])
    request = Request(
        asked, first, answered, accepted, began, ended, ((start, middle), (again, end)), TID, awaits=awaits
    )
    found = pieces(request, before)
    assert all(left.end == right.start for left, right in pairwise(found))
    assert sum(piece.end - piece.start for piece in found) == answered - asked
    whole = split([request], [Sample(time, PID, TID, state) for time, state in seen])
    assert whole is not None
    assert sum(whole.parts_us.values()) == pytest.approx(whole.latency_us)
    assert min(whole.parts_us.values()) > -1e-9


def test_parts_have_names_of_their_own() -> None:
    for name in ("key", "short", "name", "meaning"):
        assert len({getattr(part, name) for part in PARTS}) == len(PARTS)
