import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.lab.load import Histogram

latencies = st.integers(min_value=0, max_value=3_600_000_000)  # µs, up to an hour


def histogram_of(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def test_empty_has_no_percentiles() -> None:
    summary = Histogram().summary()
    assert set(summary.values()) == {None}
    assert Histogram().percentile(50) is None


@pytest.mark.parametrize("us", [0, 1, 127, 128, 255, 256, 257, 511, 512, 1000, 10**6, 2**40 - 1])
def test_one_value_is_every_percentile(us: int) -> None:
    histogram = histogram_of([us])
    assert [histogram.percentile(percent) for percent in (0, 50, 99.9, 100)] == [us] * 4


def test_small_values_are_exact() -> None:
    histogram = histogram_of(list(range(256)))
    assert histogram.sparse() == dict.fromkeys(range(256), 1)
    assert histogram.percentile(50) == 127


@given(latencies)
def test_buckets_are_narrower_than_one_percent(us: int) -> None:
    (lowest,) = histogram_of([us]).sparse()
    assert lowest <= us < max(lowest * 1.01, lowest + 1)


@given(st.lists(latencies, min_size=1, max_size=200), st.sampled_from([50, 75, 90, 99, 99.9, 100]))
def test_percentiles_are_those_of_the_sorted_values(values: list[int], percent: float) -> None:
    ordered = sorted(values)
    exact = ordered[max(0, -int(-(len(values) * percent) // 100) - 1)]
    found = histogram_of(values).percentile(percent)
    assert found is not None
    assert exact <= found <= exact * 1.01


@given(st.lists(latencies, max_size=50), st.lists(latencies, max_size=50))
def test_merging_is_recording_both(ours: list[int], theirs: list[int]) -> None:
    merged, other = histogram_of(ours), histogram_of(theirs)
    merged.merge(other.sparse(), other.max_us, other.total_us)
    both = histogram_of(ours + theirs)
    assert merged.sparse() == both.sparse()
    assert merged.summary() == both.summary()
