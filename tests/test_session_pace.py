"""A slow client's time is used up by waiting, won back by progress, and never more than the full timeout."""

import pytest

from septet.session.phases import MAX_INTERVAL_S, Pace


def deadlines(pace: Pace, *calls: tuple[float, int]) -> list[float]:
    """The deadlines given for these calls: (instant in seconds, bytes moved)."""
    return [pace.deadline(now, moved) for now, moved in calls]


def test_without_progress_the_deadline_stands() -> None:
    assert deadlines(Pace(30, 240), (0, 0), (1, 0), (2, 0), (2.5, 0)) == [30, 30, 30, 30]


def test_progress_wins_back_what_it_is_worth() -> None:
    assert deadlines(Pace(30, 100), (0, 0), (1, 50), (2, 100)) == [30, 30.5, 31]


def test_no_more_is_won_than_was_used() -> None:
    assert deadlines(Pace(30, 100), (0, 0), (1, 1_000_000), (2, 2_000_000)) == [30, 31, 32]


def test_a_byte_a_second_comes_to_an_end() -> None:
    pace = Pace(30, 240)
    late = [now for now in range(100) if pace.deadline(now, now) <= now]
    assert late[0] == 31


def test_the_least_rate_is_enough() -> None:
    pace = Pace(30, 240)
    assert all(pace.deadline(now, now * 240) > now for now in range(1000))


def test_without_a_rate_any_progress_wins_back_all() -> None:
    assert deadlines(Pace(30, 0), (0, 0), (1, 1), (2, 2), (3, 2)) == [30, 31, 32, 32]


def test_a_carrier_that_was_busy_does_not_blame_the_client() -> None:
    """A carrier of many clients asks about once a second; a longer interval is the carrier's own time."""
    assert deadlines(Pace(30, 240), (0, 0), (60, 0)) == [30, 60 + 30 - MAX_INTERVAL_S]


def test_a_wait_for_one_client_alone_counts_in_full() -> None:
    pace = Pace(30, 100)
    pace.deadline(0, 0)
    pace.waited(10, 100)
    assert pace.deadline(500, 100) == 500 + 30 - 10 + 1  # what the application did meanwhile is not the client's


@pytest.mark.parametrize("rate", [0, 100])
def test_counting_from_another_beginning_wins_nothing(rate: int) -> None:
    assert deadlines(Pace(30, rate), (0, 1000), (1, 0)) == [30, 30]
