"""The table of phases is complete and agrees with the phases."""

from septet.protocol import CLOSE, READ, RUN, WRITE, Phase
from septet.rules import Timeouts
from septet.session.phases import ANSWER, FOLLOWS, IDLE, LINGER, OVER, PROXY_HEADER, TURN

PHASES = tuple(FOLLOWS)


def test_every_phase_has_its_row_and_no_row_leads_elsewhere() -> None:
    assert {phase for row in FOLLOWS.values() for phase in row} == set(PHASES) - {PROXY_HEADER}
    assert len({phase.name for phase in PHASES}) == len(PHASES)


def test_every_phase_can_be_reached_and_left_for_the_end() -> None:
    """A connection begins in `idle`, or before it in `preface`."""
    assert reachable(IDLE) == set(PHASES) - {PROXY_HEADER}
    assert reachable(PROXY_HEADER) == set(PHASES)
    assert all(OVER in reachable(phase) for phase in PHASES)


def reachable(start: Phase) -> set[Phase]:
    """The phases that can come after `start`, itself among them."""
    found: set[Phase] = {start}
    front = [start]
    while front:
        fresh = set(FOLLOWS[front.pop()]) - found
        found |= fresh
        front += fresh
    return found


def test_nothing_follows_the_end_but_its_lingering() -> None:
    assert set(FOLLOWS[OVER]) <= {OVER, LINGER}
    assert FOLLOWS[LINGER] == (OVER,)


def test_only_the_application_has_all_the_time_it_wants() -> None:
    """Each phase that waits for the client has a deadline, whose name is a field of `Timeouts`."""
    timeouts = Timeouts()
    for phase in PHASES:
        if phase.want in (READ, WRITE):
            assert phase.timeout is not None
            assert phase.timeout(timeouts) > 0
        else:
            assert phase.timeout is None


def test_one_phase_each_runs_the_application_writes_and_closes() -> None:
    assert [phase for phase in PHASES if phase.want is RUN] == [TURN]
    assert [phase for phase in PHASES if phase.want is WRITE] == [ANSWER]
    assert [phase for phase in PHASES if phase.want is CLOSE] == [OVER]
