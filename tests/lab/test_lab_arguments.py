"""Arguments of the laboratory's commands that are not plain numbers or words."""

import pytest

from septet.lab.arguments import SPAN


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("50ms", 0.05), ("4m", 240), ("4m20s", 260), ("4m20", 260), ("1h0m0.5s", 3600.5), (0.2, 0.2)],
)
def test_times_with_one_or_more_units(text: str | float, seconds: float) -> None:
    assert SPAN.convert(text, None, None) == pytest.approx(seconds)
