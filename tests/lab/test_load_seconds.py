"""What the load generator tells of each second."""

import os
from typing import Any

import pytest

from septet.lab.load import Histogram, Plan, run
from septet.lab.load.seconds import Merger, Piece
from septet.lab.load.tally import packed, unpacked
from support.scripted_server import ScriptedServer, answering_status, keep_answering


def pieces_of(plan: Plan) -> tuple[list[Piece], dict[str, Any]]:
    pieces: list[Piece] = []
    figures = run(plan, lambda event, details: pieces.append(details) if event == "second" else None)
    return pieces, figures


def histogram(pieces: list[Piece]) -> dict[int, int]:
    told = [piece["latency"] for piece in pieces if piece["phase"] in ("measured", "after")]
    return unpacked(*told).sparse()


@pytest.mark.parametrize("rate", [None, 200.0])
@pytest.mark.parametrize("processes", [1, 2])
def test_the_pieces_of_the_window_add_up_to_its_figures(rate: float | None, processes: int) -> None:
    cpus = tuple(sorted(os.sched_getaffinity(0)))[:processes]
    if len(cpus) < processes:
        pytest.skip("needs two CPUs")
    with ScriptedServer(keep_answering) as server:
        plan = Plan(server.url, users=4, rate=rate, duration_s=2.2, warmup_s=0.3, seconds=True)
        pieces, figures = pieces_of(plan if processes == 1 else Plan(**{**plan.values(), "cpus": cpus}))
    assert histogram(pieces) == figures["histogram_us"]
    measured = [piece for piece in pieces if piece["phase"] == "measured"]
    assert 3 <= len(measured) <= 4 + 1  # a stalled machine may begin a second late, and make one piece of two
    assert {piece["phase"] for piece in pieces} >= {"warm-up", "measured"}
    if rate is not None:
        due = sum(piece["due"] for piece in measured)
        # A stalled process tells its last second late, with what was due after the window.
        assert figures["due"] - rate <= due <= figures["due"] + rate
    assert [piece["number"] for piece in pieces] == sorted(piece["number"] for piece in pieces)


def test_errors_are_told_by_kind() -> None:
    with ScriptedServer(answering_status(500)) as server:
        pieces, figures = pieces_of(Plan(server.url, users=2, duration_s=0.5, warmup_s=0.0, seconds=True))
    assert sum(piece["errors"].get("status 500", 0) for piece in pieces) == figures["errors"]["status 500"]


def piece(number: int, phase: str = "measured", answers: int = 1, **more: Any) -> Piece:
    fields = {"begun_ns": number * 10, "ended_ns": number * 10 + 9, "due": 0, "no_free_connection": 0, "under_way": 2}
    found = Histogram()
    found.record(100, answers)
    return {
        "number": number, "phase": phase, "answers": answers, "errors": {"reset": 1}, "latency": packed(found),
        **fields, **more,
    }  # fmt: skip


def test_a_second_is_told_when_no_process_can_add_to_it() -> None:
    told: list[Piece] = []
    merger = Merger(2, told.append)
    merger.receive(0, piece(1))
    merger.receive(0, piece(2))
    assert not told, "the other process may be late"
    merger.receive(1, piece(2, answers=5))
    assert [(each["number"], each["answers"], each["processes"]) for each in told] == [(1, 1, 1), (2, 6, 2)]
    assert told[1]["errors"] == {"reset": 2}
    assert told[1]["under_way"] == 4
    merger.receive(1, piece(3))
    merger.finish(0)
    assert told[-1]["number"] == 3, "who has ended adds nothing"


def test_parts_of_a_second_in_two_phases_stay_apart() -> None:
    told: list[Piece] = []
    merger = Merger(1, told.append)
    merger.receive(0, piece(1, "warm-up"))
    merger.receive(0, piece(1, "measured"))
    assert [each["phase"] for each in told] == ["warm-up", "measured"]
