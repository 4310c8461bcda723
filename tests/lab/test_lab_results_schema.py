"""Results files that are damaged: told in a sentence, with the place, and never as a traceback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from septet.errors import Failed
from septet.lab import bench, output, results
from support.made_up_results import failed, results_of, valid


def read_after(tmp_path: Path, damage: Callable[[Any], object]) -> results.Results:
    path = results.write(results_of(valid("epoll", 20, 900), failed("poll", 20, "no answer")), tmp_path)
    damaged = json.loads(path.read_text())
    damage(damaged)
    path.write_text(json.dumps(damaged))
    return results.read(path)


def test_what_is_whole_is_read(tmp_path: Path) -> None:
    assert len(read_after(tmp_path, lambda found: None)["runs"]) == 2


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda found: found.pop("runs"), "is damaged: runs is missing"),
        (lambda found: found.update(runs=None), "is damaged: runs is None"),
        (lambda found: found.update(runs=["x"]), r"is damaged: runs\[0\] is 'x'"),
        (lambda found: found["experiment"].pop("models"), "is damaged: experiment.models is missing"),
        (lambda found: found["runs"][1].pop("setting"), r"is damaged: runs\[1\].setting is missing"),
        (lambda found: found["runs"][0].update(verdict="fine"), r"is damaged: runs\[0\].verdict is 'fine'"),
        (lambda found: found["runs"][0].pop("load"), r"is damaged: runs\[0\].load is missing"),
        (lambda found: found["runs"][0]["load"].update(requests_per_s=0), "load.requests_per_s is 0"),
        (lambda found: found["runs"][0]["load"].update(answers="many"), "load.answers is 'many'"),
        (lambda found: found["runs"][0]["load"].update(histogram_us={"a": 1}), "load.histogram_us is {'a': 1}"),
        (lambda found: found["runs"][0]["load"].update(requests_per_s=float("nan")), "NaN is not a JSON number"),
        (lambda found: found.update(schema=3), "holds no results of schema 2"),
    ],
)
def test_what_is_damaged(damage: Callable[[Any], object], said: str, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=said):
        read_after(tmp_path, damage)


def test_numbers_beyond_all_numbers(tmp_path: Path) -> None:
    path = results.write(results_of(valid("epoll", 20, 900)), tmp_path)
    path.write_text(path.read_text().replace('"requests_per_s":900', '"requests_per_s":1e999'))
    with pytest.raises(Failed, match="1e999 is not a JSON number"):
        results.read(path)


def test_an_experiment_that_cannot_be_taken_up(tmp_path: Path) -> None:
    recorded = results_of(valid("epoll", 20, 900))
    del recorded["experiment"]["server"]
    results.write(recorded, tmp_path)
    with pytest.raises(Failed, match=r"its experiment cannot be taken up .*'server'"):
        bench.interrupted(tmp_path)


def test_half_of_a_file_does_not_stay(tmp_path: Path) -> None:
    """As on a disk that is full: here the last step fails."""
    path = tmp_path / results.NAME
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        output.write_runs(path, {}, [])
    assert [*tmp_path.iterdir()] == [path]
