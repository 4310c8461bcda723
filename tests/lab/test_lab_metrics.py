"""The table of metrics: whatever is in it is sampled, summed up, shown and documented."""

from pathlib import Path

import pytest

from septet.lab import metrics
from septet.lab.metric import Metric, Over, Sampled
from septet.lab.metrics import BARS, COLUMNS, COMPARED, METRICS, SAMPLED, SUMMED_UP
from septet.lab.sampler import Sampler
from septet.lab.summary import summaries
from support.made_up_results import results_of, valid

REFERENCE = Path(__file__).parents[2] / "docs/reference/metrics.md"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.key)
def test_the_reference_lists_it(metric: Metric) -> None:
    assert "\ntable:metrics\n" in REFERENCE.read_text(), "the page shows the table"
    (line,) = [line for line in metrics.reference().splitlines() if line.startswith(f"| `{metric.key}` |")]
    assert metric.meaning in line
    assert not metric.compare or f"compare: {metric.compare}" in line


def test_each_has_its_own_names() -> None:
    """A second row of a name would replace the first."""
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    assert len(COMPARED) == sum(bool(metric.compare) for metric in METRICS)
    for places in (
        [each.column.place for each in COLUMNS if each.column],
        [each.chart.bar for each in BARS if each.chart],
    ):
        assert places == sorted(set(places))


def test_what_is_shown_is_summed_up() -> None:
    shown = [each for each in METRICS if each.column or each.compare or each.chart]
    assert {each.key for each in shown} <= SUMMED_UP.keys()


def test_the_sampler_has_all_that_are_sampled() -> None:
    sampler = Sampler(session=1)
    sampler.start()
    assert sampler.stop().keys() == SAMPLED.keys() | {"samples"}


def test_summaries_have_all_that_are_summed_up() -> None:
    (cell,) = summaries(results_of(valid("epoll", 20, 1000)))
    assert cell.figures.keys() == SUMMED_UP.keys()


def test_a_row_is_all_that_a_new_metric_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The consumers have the same tables as this module; a row in them is sampled and summed up."""
    row = Metric(
        key="zombies",
        meaning="processes that ended and were not waited for",
        sampled=Sampled(lambda sight: sum(not each.alive for each in sight.processes) + 3, Over.PEAK),
        figure=lambda record: record["usage"].get("zombies"),
    )
    assert row.sampled is not None
    assert row.figure is not None
    monkeypatch.setitem(SAMPLED, row.key, row.sampled)
    monkeypatch.setitem(SUMMED_UP, row.key, row.figure)
    sampler = Sampler(session=1)
    sampler.start()
    usage = sampler.stop()
    assert usage["zombies"] == 3
    record = valid("epoll", 20, 1000)
    record["usage"] |= usage
    (cell,) = summaries(results_of(record))
    assert cell.median("zombies") == 3
