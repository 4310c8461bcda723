"""What is said beside the figures, of many cells at once."""

import pytest

from septet.lab.caveats import caveats, spans
from septet.lab.summary import summaries
from support.made_up_results import results_of, valid

AXIS = (20, 50, 100, 200, 500)


@pytest.mark.parametrize(
    ("users", "told"),
    [
        ((20,), "20"),
        ((50, 20), "20 and 50"),
        ((20, 50, 100), "20 to 100"),
        ((20, 100, 200, 500), "20 and 100 to 500"),
        ((20, 50, 200, 500), "20, 50, 200 and 500"),
        (AXIS, "20 to 500"),
    ],
)
def test_neighbours_are_a_range(users: tuple[int, ...], told: str) -> None:
    assert spans(users, AXIS) == told


def test_reasons_that_differ_in_numbers_are_one() -> None:
    cells = []
    for users, waiting in ((20, 3), (50, 1200), (100, 40)):
        cell = valid("epoll", users, 100.0)
        cell["verdict"], cell["reason"] = "errors", f"{waiting:,} users had no answer by the end"
        cells.append(cell)
    cells.append(valid("poll", 20, 100.0))
    assert caveats(results_of(*cells), summaries(results_of(*cells)), "!") == [
        "epoll at 20 to 100 users (!: errors): 3 to 1,200 users had no answer by the end"
    ]


def test_what_made_cells_fail_is_told_word_by_word() -> None:
    cells = []
    for users, status in ((20, 1), (50, 2)):
        cell = valid("epoll", users, 100.0)
        cell["verdict"], cell["reason"] = "failed", f"the server ended with status {status}"
        cell["failure"] = cell["reason"]
        cells.append(cell)
    told = caveats(results_of(*cells), summaries(results_of(*cells)), "!")
    assert told == [
        "epoll at 20 users failed: the server ended with status 1",
        "epoll at 50 users failed: the server ended with status 2",
    ]
