"""What the reference pages say of a results file."""

from pathlib import Path
from typing import Any

from septet.lab import metrics

RESULTS_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "results.md"


def undocumented(recorded: dict[str, Any]) -> set[str]:
    """Keys of a results file, down to those of `load` and the like, that the pages of results and metrics lack."""
    run = recorded["runs"][0]
    parts = (recorded, run, run["load"], run["load"]["client"], run["usage"], run["stop"], run["stop"]["life"])
    page = RESULTS_PAGE.read_text() + metrics.reference()
    return {key for part in parts for key in part if f"`{key}`" not in page}
