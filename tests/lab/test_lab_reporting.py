"""What is made from results: the file, the tables, the caveats and the display; pictures have tests of their own."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from septet.errors import Failed
from septet.lab import results, tables
from septet.lab.caveats import caveats
from septet.lab.display import Board
from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.results import Results
from septet.lab.summary import summaries
from support.made_up_results import MIXED, failed, results_of, valid


def told(recorded: Results) -> list[str]:
    return caveats(recorded, summaries(recorded), "!")


def test_file_keeps_everything_one_run_a_line(tmp_path: Path) -> None:
    path = results.write(MIXED, tmp_path)
    assert results.read(path) == json.loads(json.dumps(MIXED))
    lines = [line for line in path.read_text().splitlines() if line.startswith('{"model"')]
    assert len(lines) == 5
    assert [each.name for each in tmp_path.iterdir()] == [results.NAME]


def test_file_without_runs(tmp_path: Path) -> None:
    assert results.read(results.write(results_of(), tmp_path))["runs"] == []


def test_file_says_where_and_how(tmp_path: Path) -> None:
    recorded = results.read(results.write(MIXED, tmp_path))
    assert recorded["schema"] == 2
    assert recorded["machine"]["cpus_usable"] >= 1
    assert recorded["machine"]["kernel"]
    assert recorded["machine"]["packages"]["click"]
    assert recorded["machine"]["python_build"].keys() >= {"PY_CFLAGS"}
    assert recorded["experiment"]["mode"] == "close"
    assert recorded["command"] == ["septet", "bench"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(Failed, match=r"other\.json"):
        results.read(path)


def test_table_of_rates() -> None:
    assert tables.rates(summaries(MIXED), MIXED["experiment"]["users"]).splitlines() == [
        "requests/s  20 users   100 users",
        "iterative      2,900      failed",
        "epoll          4,000!      3,900!",
        "threaded         5.2           -",
    ]


def test_table_of_repeats() -> None:
    rates = [1000.0, 1010.0, 1030.0]
    several = results_of(*(valid("epoll", 20, rate, repeat=place) for place, rate in enumerate(rates, 1)))
    assert tables.rates(summaries(several), several["experiment"]["users"]).splitlines()[1] == "epoll       1,010 ±15"


def test_table_of_a_sweep() -> None:
    swept = results_of(valid("epoll", 20, 1000, workers="1"), valid("epoll", 20, 2000, workers="2"))
    assert tables.rates(summaries(swept), swept["experiment"]["users"]).splitlines() == [
        "requests/s       20 users",
        "epoll workers=1     1,000",
        "epoll workers=2     2,000",
    ]


def test_table_of_costs() -> None:
    heading, *rows = tables.costs(summaries(MIXED), 20).splitlines()
    assert heading.startswith("at 20 users")
    assert [row.split() for row in rows] == [
        [model, "1.5", "2.0", "50", "1.00", "25%", "25", "2", "9"] for model in ("iterative", "epoll", "threaded")
    ]


def test_caveats_group_what_belongs_together() -> None:
    reason = "the server ended with status 1"
    several = results_of(
        *(failed(model, users, reason) for users in (20, 100, 500) for model in ("poll", "epoll")),
        failed("forking", 20, "no answer"),
    )
    assert told(several) == [
        f"poll and epoll at 20 to 500 users failed: {reason}",
        "forking at 20 users failed: no answer",
    ]


def test_caveats_on_options_that_models_lack() -> None:
    lacking = {"iterative": ("threads",), "threaded": ("threads",), "forking": ("threads", "workers")}
    assert told(results_of(valid("iterative", 20, 1000), lacking=lacking)) == [
        "iterative and threaded: measured once, without --threads, which would mean nothing there",
        "forking: measured once, without --threads and --workers, which would mean nothing there",
    ]


def test_caveats_on_figures_that_are_there() -> None:
    assert caveats(MIXED, summaries(MIXED), "hollow point") == [
        "iterative at 100 users failed: no answer within 15 s of starting",
        "epoll at 100 users (hollow point: errors): 120 of 8,000 requests failed: 120 x reset",
        "epoll at 20 users (hollow point: client-limited): the load generator used more than 85% of a CPU and may be "
        "the limit",
    ]
    assert told(results_of(valid("epoll", 20, 1))) == []


def test_remark_on_an_overflow() -> None:
    overflowed = valid("epoll", 20, 1000)
    overflowed["usage"]["queue_overflows"] = 7
    assert told(results_of(overflowed)) == [
        "the listener's queue overflowed, and users waited a second or more to try again: epoll at 20 users"
    ]


def test_board_shows_medians_curves_and_what_runs() -> None:
    experiment = Experiment(out=Path("out"), models=("poll", "epoll"), users=(20, 100), repeats=2)
    board = Board(experiment, 8)
    for place, (users, rate) in enumerate([(20, 500.0), (100, 1000.0), (20, 700.0)]):
        run = Run(Cell("epoll", users), 1 + place // 2)
        board.begin(run)
        board.receive("progress", {"answers": 0})
        board.receive("measuring", {})
        board.receive("progress", {"answers": 3})
        board.end(run, valid("epoll", users, rate))
    board.begin(Run(Cell("poll", 100), 2))
    console = Console(file=StringIO(), width=120)
    console.print(board.picture())
    assert isinstance(console.file, StringIO)
    lines = {line.split()[0]: line.split()[1:] for line in console.file.getvalue().splitlines()}
    assert lines["epoll"] == ["600", "1,000", "▅█"]
    assert lines["poll,"][:4] == ["100", "users,", "repeat", "2"]
    assert "3/8" in lines["poll,"]
    assert "starting" in lines["poll"]
