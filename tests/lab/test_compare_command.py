"""`septet compare` as a user runs it, on files."""

from pathlib import Path
from typing import Any

import pytest

from septet.lab import results
from support.commands import septet_here
from support.made_up_results import results_of, valid

RATES = (1000.0, 1010.0, 990.0)


def written(directory: Path, factor: float = 1.0, model: str = "epoll", **changes: Any) -> Path:
    directory.mkdir()
    records = [valid(model, 20, rate * factor, repeat=place) for place, rate in enumerate(RATES, 1)]
    recorded: Any = results_of(*records, **changes)
    results.finish(recorded)
    return results.write(recorded, directory)


def test_nothing_got_worse(tmp_path: Path) -> None:
    written(tmp_path / "a")
    written(tmp_path / "b", 0.99)
    done = septet_here("compare", "a", tmp_path / "b" / "results.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("A: septet ")
    assert "epoll, 20 users  0.99 (" in done.stdout


def test_protocols_are_not_compared(tmp_path: Path) -> None:
    written(tmp_path / "a", mode="keep-alive")
    written(tmp_path / "b", mode="keep-alive", streams=10)
    written(tmp_path / "c", mode="keep-alive", streams=1)
    done = septet_here("compare", "a", "b", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "A was measured over HTTP/1.1 and B over HTTP/2 (10 streams on a connection), which cannot be" in done.stderr
    done = septet_here("compare", "b", "c", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "streams on a connection: 10 in A, 1 in B" in done.stdout


def test_something_got_worse(tmp_path: Path) -> None:
    written(tmp_path / "a")
    written(tmp_path / "b", 0.5)
    done = septet_here("compare", "a", "b", "--format", "markdown", "--metric", "requests/s", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "septet: 1 figure got worse beyond noise\n")
    assert "| epoll, 20 users | 0.50 (" in done.stdout
    assert "**worse** |  |" in done.stdout
    assert septet_here("compare", "a", "b", "--tolerance", "60", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "nowhere"], "nowhere is not there; `septet bench` writes results.json"),
        (["a", "empty"], "empty/results.json is not there"),
        (["a", "unlike"], "a and unlike have no cell in common"),
        (["a"], "missing argument 'B'"),
        (["a", "a", "--metric", "beauty"], "'beauty' is not one of"),
        (["a", "a", "--tolerance", "-1"], "--tolerance"),
    ],
)
def test_usage_errors(words: list[str], said: str, tmp_path: Path) -> None:
    written(tmp_path / "a")
    written(tmp_path / "unlike", model="poll")
    (tmp_path / "empty").mkdir()
    done = septet_here("compare", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
