"""From records of switches and samples to what each thread did when."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from septet.lab.threads.states import Call, Interval, Sample, State
from septet.lab.trace.timeline import Born, Died, Lane, Record, SwitchedIn, SwitchedOut, explain, from_samples, lanes

PID, TID = 10, 11
CALL = Call(0x7F00, 5, 1)
END = 100


def came(time: int, tid: int = TID) -> SwitchedIn:
    return SwitchedIn(time, PID, tid)


def left(time: int, preempted: bool = False, call: Call | None = None, tid: int = TID) -> SwitchedOut:
    return SwitchedOut(time, PID, tid, preempted, call)


def line(*records: Record) -> list[tuple[int, int, State]]:
    """What thread TID did from 0 to END."""
    return [(each.start, each.end, each.state) for each in lanes(records, 0, END)[TID].intervals]


def test_blocked_and_running() -> None:
    assert line(left(10), came(40), left(60), came(90)) == [
        (0, 10, State.RUNNING),
        (10, 40, State.OTHER),
        (40, 60, State.RUNNING),
        (60, 90, State.OTHER),
        (90, END, State.RUNNING),
    ]


def test_what_was_before_the_first_record() -> None:
    assert line(came(30))[0] == (0, 30, State.OTHER)
    assert line(left(30))[0] == (0, 30, State.RUNNING)


def test_who_is_preempted_could_run() -> None:
    assert line(left(10, preempted=True), came(20))[1] == (10, 20, State.RUNNABLE)


def test_call_belongs_to_the_wait_alone() -> None:
    found = lanes([left(10, call=CALL), came(20), left(30, preempted=True, call=CALL), came(40)], 0, END)[TID]
    assert [each.call for each in found.intervals] == [None, CALL, None, None, None]


def test_birth_and_death() -> None:
    assert line(Born(20, PID, TID), came(25), left(30), came(50), Died(60, PID, TID)) == [
        (20, 25, State.RUNNABLE),
        (25, 30, State.RUNNING),
        (30, 50, State.OTHER),
        (50, 60, State.RUNNING),
    ]


def test_number_of_a_dead_thread_is_used_again() -> None:
    records = [Born(0, PID, TID), came(5), Died(10, PID, TID), Born(50, PID, TID), came(60)]
    assert line(*records) == [(50, 60, State.RUNNABLE), (60, END, State.RUNNING)]


def test_what_lies_between_contradictions_is_not_known() -> None:
    assert line(came(10), came(30))[1:] == [(10, 30, State.UNKNOWN), (30, END, State.RUNNING)]
    assert line(left(10), left(30))[1:] == [(10, 30, State.UNKNOWN), (30, END, State.OTHER)]


def test_records_of_two_cpus_are_put_in_order() -> None:
    assert line(came(40), left(60), left(10)) == line(left(10), came(40), left(60))


def test_what_is_outside_does_not_count() -> None:
    assert lanes([left(10), came(40), left(60)], 20, 50)[TID].intervals == [
        Interval(20, 40, State.OTHER),
        Interval(40, 50, State.RUNNING),
    ]


kinds = st.sampled_from(["in", "blocked", "preempted", "born", "died"])


@given(st.lists(st.tuples(st.integers(0, END), kinds)))
def test_a_line_has_neither_gaps_nor_overlaps(happened: list[tuple[int, str]]) -> None:
    """Whatever is recorded, lost or made up."""
    make = {
        "in": came,
        "blocked": left,
        "preempted": lambda time: left(time, preempted=True),
        "born": lambda time: Born(time, PID, TID),
        "died": lambda time: Died(time, PID, TID),
    }
    for lane in lanes([make[kind](time) for time, kind in happened], 0, END).values():
        assert all(one.end == two.start for one, two in pairwise(lane.intervals))
        assert all(0 <= each.start < each.end <= END for each in lane.intervals)


def explained(samples: list[tuple[int, State]], told: State | None = None, call: Call | None = None) -> list[Interval]:
    lane = Lane(PID, TID, [Interval(0, 10, State.RUNNING), Interval(10, 50, State.OTHER, call)])
    seen = [Sample(time, PID, TID, state) for time, state in samples]
    return [each._replace(call=None) for each in explain(lane, seen, lambda pid, call: told).intervals[1:]]


def test_reason_is_what_the_call_tells() -> None:
    assert explained([(20, State.SLEEP)], State.GIL, CALL) == [Interval(10, 50, State.GIL)]


def test_reason_is_what_was_seen_meanwhile() -> None:
    seen = [(5, State.LOCK), (20, State.SLEEP), (60, State.LOCK)]
    assert explained(seen) == [Interval(10, 50, State.SLEEP)]
    assert explained(seen, None, CALL) == [Interval(10, 50, State.SLEEP)]


def test_reason_that_nobody_knows() -> None:
    assert explained([]) == [Interval(10, 50, State.OTHER)]


def test_from_when_it_was_seen_awake_it_only_waits_for_a_cpu() -> None:
    seen = [(20, State.SLEEP), (30, State.RUNNING), (40, State.RUNNABLE)]
    assert explained(seen) == [Interval(10, 30, State.SLEEP), Interval(30, 50, State.RUNNABLE)]
    assert explained([(10, State.RUNNABLE)]) == [Interval(10, 50, State.RUNNABLE)]


def test_what_needs_no_reason_gets_none() -> None:
    lane = Lane(PID, TID, [Interval(0, 10, State.RUNNING), Interval(10, 50, State.RUNNABLE)])
    assert explain(lane, [Sample(20, PID, TID, State.SLEEP)], lambda pid, call: State.GIL) == lane


def sampled(*seen: tuple[int, State]) -> list[tuple[int, int, State]]:
    lane = from_samples([Sample(time, PID, TID, state) for time, state in seen], 0, END)
    return [(each.start, each.end, each.state) for each in lane.intervals]


def test_samples_stand_for_the_time_around_them() -> None:
    assert sampled((10, State.RUNNING), (20, State.SLEEP), (40, State.SLEEP), (60, State.RUNNING)) == [
        (0, 15, State.RUNNING),
        (15, 50, State.SLEEP),
        (50, END, State.RUNNING),
    ]


def test_samples_outside_the_recording() -> None:
    assert sampled((-20, State.LOCK), (-10, State.LOCK), (50, State.SLEEP), (120, State.LOCK)) == [
        (0, 20, State.LOCK),
        (20, 85, State.SLEEP),
        (85, END, State.LOCK),
    ]


def test_stretch_of_a_lane() -> None:
    lane = Lane(PID, TID, [Interval(0, 10, State.RUNNING), Interval(10, 50, State.SLEEP), Interval(50, 60, State.LOCK)])
    assert lane.between(5, 20) == [Interval(5, 10, State.RUNNING), Interval(10, 20, State.SLEEP)]
    assert lane.between(12, 13) == [Interval(12, 13, State.SLEEP)]
    assert lane.between(60, 70) == []
    assert lane.total(State.RUNNING, State.LOCK) == 20
