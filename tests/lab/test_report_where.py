"""The picture of where a request's time goes, of results that were made up."""

import itertools
import json

import pytest

from septet.lab import palette
from septet.lab.caveats import unrecorded
from septet.lab.report import drawing, glance
from septet.lab.report.drawing import NARROW, WIDE
from septet.lab.report.page import page, specifications
from septet.lab.report.save import sections
from septet.lab.report.where import TITLE, section
from septet.lab.results import Results
from septet.lab.results_schema import complaint
from septet.lab.summary import summaries
from septet.lab.where.parts import KEYS, PARTS
from support.colours import VISIONS, contrast, distance
from support.made_up_results import Record, results_of, split_request, valid


def results_with(*cells: Record, skipped: str | None = None) -> Results:
    recorded = results_of(*(valid(cell["model"], cell["users"], 1000.0) for cell in cells))
    recorded["where"] = {"cells": list(cells), "skipped": skipped}
    assert complaint(stored(recorded)) is None
    return recorded


def stored(recorded: Results) -> Results:
    """As it comes back from a file."""
    again: Results = json.loads(json.dumps(recorded, default=str))
    return again


def titles(*cells: Record) -> list[str]:
    recorded = results_with(*cells)
    found = section(recorded, summaries(recorded))
    assert found is not None
    (picture,) = found.pictures
    assert picture.draw(WIDE)
    assert picture.draw(NARROW)
    return picture.shows.removeprefix(f"{TITLE}. ").split("; ")


def test_the_title_is_the_finding() -> None:
    waits = [split_request("threaded", 1000, gil=0.8), split_request("iterative", 1000, listen=0.95)]
    assert titles(*waits) == ["1,000 users: A request of threaded waits 8.0 of 10.0 ms for the GIL"]
    written = split_request("epoll", 4, 250_000, writing=0.9)
    assert titles(written) == ["4 users: A request of epoll spends 225 of 250 ms in writing"]
    assert titles(split_request("epoll", 4)) == ["4 users: Requests spend most of their time in the application"]
    even = split_request("epoll", 4, listen=0.3, thread=0.3, gil=0.3)
    assert titles(even) == ["4 users: No wait takes a third of a request's time"]


def test_no_title_says_what_another_has_said() -> None:
    cells = [split_request("threaded", users, gil=0.5, listen=0.4) for users in (20, 100)]
    assert titles(*cells) == [
        "20 users: A request of threaded waits 5.0 of 10.0 ms for the GIL",
        "100 users: A request of threaded waits 4.0 of 10.0 ms in the listen queue",
    ]
    only = [split_request("threaded", users, gil=0.5) for users in (20, 100)]
    assert {title.split(": ")[1] for title in titles(*only)} == {
        "A request of threaded waits 5.0 of 10.0 ms for the GIL"
    }


def test_table_and_csv() -> None:
    failed = {**split_request("poll", 20), "failure": "it died"}
    recorded = results_with(split_request("epoll", 20, gil=0.25, other=0.05), failed, skipped="No time for more.")
    found = section(recorded, summaries(recorded))
    assert found is not None
    reason = " Where the time goes was not recorded for poll at 20 users: it died."
    assert found.remark.endswith(f"{reason} No time for more.")
    head, row, other = found.table
    told = dict(zip(head, row, strict=True))
    assert (told["ms"], told["in all"], told["in the runs"]) == ("epoll, 20 users", "10.0", "20.0")
    assert (told["GIL"], told["application"], told["other"], told["requests"]) == ("2.5", "7.0", "0.5", "99")
    assert other[:2] == ["poll, 20 users", "failed"]
    (picture,) = found.pictures
    heads, *rows = picture.data
    assert heads == ["line", "users", "part", "mean (ms)", "share", "requests"]
    assert [line[2] for line in rows] == list(KEYS)
    assert sum(line[3] for line in rows) == pytest.approx(10.0)


def test_words_stand_in_bars_that_have_room() -> None:
    recorded = results_with(split_request("epoll", 20, gil=0.5, listen=0.01))
    found = section(recorded, summaries(recorded))
    assert found is not None
    text = drawing.svg(found.pictures[0].draw(WIDE))
    assert ">GIL</text>" in text
    assert ">listen queue</text>" not in text
    assert ">in the listen queue</text>" in text  # in the legend
    assert ">for a CPU</text>" not in text


def test_results_without_it() -> None:
    """Those of older versions have no such key."""
    recorded = results_of(valid("epoll", 20, 1000.0))
    assert recorded["where"] is None
    older = {key: value for key, value in recorded.items() if key != "where"}
    for each in (recorded, older, {**recorded, "where": {"cells": [], "skipped": "There was no time."}}):
        assert complaint(stored(each)) is None
        assert section(each, summaries(each)) is None
        assert TITLE not in [found.title for found in sections(each, summaries(each))]


def test_why_there_is_no_picture_is_said() -> None:
    """Of some contenders, with the same reason in one sentence; or of all, which have no section of their own then."""
    pairs = itertools.product(("poll", "epoll"), (20, 100))
    broken = [{**split_request(model, users), "failure": "it died."} for model, users in pairs]
    assert unrecorded({"cells": [*broken, split_request("threaded", 20)], "skipped": None}) == [
        "Where the time goes was not recorded for poll and epoll at 20 and 100 users: it died."
    ]
    recorded = results_of(valid("epoll", 20, 1000.0))
    recorded["where"] = {"cells": [], "skipped": "Where the time goes was not recorded: there was no time left."}
    cells = summaries(recorded)
    found = glance.section([glance.Page(recorded, cells)])
    text = page([glance.Page(recorded, cells)], [found], specifications([found]), None)
    assert "<li>Where the time goes was not recorded: there was no time left.</li>" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parts_us": {"gil": 1.0}}, "where.cells[0].parts_us.listen is missing"),
        ({"latency_us": None}, "where.cells[0].latency_us is None"),
        ({"users": "many"}, "where.cells[0].users is 'many'"),
    ],
)
def test_damaged(change: Record, said: str) -> None:
    recorded = stored(results_with(split_request("epoll", 20)))
    recorded["where"]["cells"][0].update(change)
    assert complaint(recorded) == said


def test_colours_of_parts() -> None:
    """Words within a bar have the colour of the paper. Bars have words and gaps as well, so colours need not be as far
    apart as those of lines."""
    assert list(palette.PARTS) == [part.key for part in PARTS]
    for paper, colours in (
        ("#ffffff", [style.colour for style in palette.PARTS.values()]),
        (drawing.DARK["white"], [style.dark for style in palette.PARTS.values()]),
    ):
        assert min(contrast(colour, paper) for colour in colours) >= 4.5
        for vision in VISIONS:
            assert min(distance(*pair, vision) for pair in itertools.combinations(colours, 2)) >= 14
