"""`septet report` as a user runs it."""

from pathlib import Path

import pytest

from septet.lab import results
from support.commands import septet
from support.made_up_results import failed, results_of, valid
from support.marks import draws

pytestmark = [pytest.mark.timeout(300), draws]


def test_report_draws_again(tmp_path: Path) -> None:
    """What was interrupted too, and elsewhere."""
    recorded = results_of(valid("epoll", 20, 900), valid("epoll", 100, 900), failed("poll", 20, "no answer"))
    results.write(recorded, tmp_path)
    result = septet("report", results.NAME, "--at", "20", "--out", "new/place", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "new/place/report.html"
    assert "The experiment was interrupted" in (tmp_path / "new" / "place" / "report.html").read_text()
    assert (tmp_path / "new" / "place" / "charts" / "at-20-users.svg").exists()
    result = septet("report", ".", "--at", "21", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "septet: --at: 21 is not among the numbers of users there: 20, 100\n"


def test_report_of_nothing(tmp_path: Path) -> None:
    results.write(results_of(), tmp_path)
    result = septet("report", ".", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "septet: results.json holds no runs\n")
