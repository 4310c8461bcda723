"""The files that `septet load` writes beside its figures: a series of seconds, and a log of HdrHistograms."""

import io
import json
import random
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from septet.lab.load import Histogram
from septet.lab.load.tally import packed
from septet.lab.load_series import HdrLog, encoded
from support.commands import septet, septet_here
from support.scripted_server import ScriptedServer, keep_answering

PERCENTILES = (1, 50, 75, 90, 99, 99.9, 100)


def made(values: list[int]) -> Histogram:
    found = Histogram()
    for value in values:
        found.record(value)
    return found


def recorded(path: Path) -> list[HdrHistogram]:
    reader = HistogramLogReader(str(path), HdrHistogram(1, 1 << 40, 2))
    try:
        return list(iter(reader.get_next_interval_histogram, None))
    finally:
        reader.close()


CHANCE = random.Random(1)
VALUES = {
    "none": [],
    "zero": [0],
    "one of each small": list(range(300)),
    "far apart": [1, 255, 256, 511, 512, 1_000_000, 60_000_000, 1 << 35],
    "many": [int(CHANCE.lognormvariate(8, 2)) for _ in range(5000)],
    "very many of one": [700] * 70_000,
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_another_library_reads_a_histogram_as_it_was(values: list[int], tmp_path: Path) -> None:
    ours, path = made(values), tmp_path / "log"
    with path.open("w") as file:
        log = HdrLog(file)
        log.write({"phase": "measured", "begun_ns": 5_000, "ended_ns": 1_000_005_000, "latency": packed(ours)})
    (theirs,) = recorded(path)
    assert theirs.get_total_count() == len(values)
    for lowest, count in ours.sparse().items():
        assert theirs.get_count_at_value(lowest) == count
    if len(values) > 1000:  # of few values the two take different ones of those beside a percentile
        for percent in PERCENTILES:
            # Ours is cut at the very largest value; theirs names the upper edge of a bucket.
            assert min(theirs.get_value_at_percentile(percent), ours.max_us) == ours.percentile(percent)


def test_intervals_have_their_times_and_the_warmup_is_left_out() -> None:
    file = io.StringIO()
    log = HdrLog(file)
    second = 1_000_000_000
    for phase, begun in (("warm-up", 0), ("measured", 1), ("after", 2)):
        log.write(
            {
                "phase": phase,
                "begun_ns": begun * second,
                "ended_ns": (begun + 1) * second,
                "latency": packed(made([2500])),
            }
        )
    *head, first, second_line = file.getvalue().splitlines()
    assert head[1] == "#[Histogram log format version 1.3]"
    assert first.startswith("0.000,1.000,2.500,HISTFAAAA")
    assert second_line.startswith("1.000,1.000,2.500,HISTFAAAA")
    assert encoded(Histogram())[:4] == bytes.fromhex("1c849314")


def test_the_files_of_a_run(tmp_path: Path) -> None:
    series, hdr = tmp_path / "seconds.ndjson", tmp_path / "load.hlog"
    words = ["--rate", "200", "--duration", "1.5", "--warmup", "0.3", "--json"]
    with ScriptedServer(keep_answering) as server:
        result = septet("load", server.url, *words, "--series", str(series), "--hdr", str(hdr))
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    lines = [json.loads(line) for line in series.read_text().splitlines()]
    assert lines[0]["from_s"] == 0
    assert {line["phase"] for line in lines} >= {"warm-up", "measured", "after"}
    measured = [line for line in lines if line["phase"] == "measured"]
    # Requests of the warm-up's last moment may be sent, and counted as offered, in the first of the window.
    assert sum(line["offered"] for line in measured) == pytest.approx(figures["due"], rel=0.05)
    assert sum(line["carried"] for line in measured) == figures["came"]
    assert {"p50", "p99", "max"} <= measured[0]["latency_us"].keys()
    assert sum(each.get_total_count() for each in recorded(hdr)) == figures["answers"]


@pytest.mark.parametrize("option", ["--series", "--hdr"])
def test_a_file_that_cannot_be_written_is_said_before_anything_is_sent(option: str, tmp_path: Path) -> None:
    with ScriptedServer(keep_answering) as server:
        result = septet("load", server.url, option, str(tmp_path / "missing" / "file"))
        assert server.connections == 0
    assert result.returncode == 1
    assert "file cannot be written: No such file or directory" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--think-times", "exponential"], "--think-times: it says how --think TIME is spread"),
        (["--slow-rate", "1KiB/s"], "--slow-rate: it is that of the clients of --slow N"),
        (["--arrivals", "poisson"], "arrivals are those of a rate"),
        (["--think", "soon"], "'soon' is not a time, such as 50ms"),
        (["--slow", "3", "--slow-rate", "fast"], "'fast' is not a rate of at least 1 B/s"),
        (["--rate", "5", "--think", "50ms"], "users have no think time"),
        (["--series", "x", "--cluster", "ssh:anna"], "not --cluster"),
    ],
)
def test_options_without_effect_are_refused(words: list[str], said: str, tmp_path: Path) -> None:
    result = septet_here("load", "http://127.0.0.1:1/", *words, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr


def test_slow_clients_and_think_times_from_the_command_line() -> None:
    with ScriptedServer(keep_answering) as server:
        words = ["--users", "2", "--think", "50ms", "--ramp", "0.2s", "--slow", "2", "--slow-rate", "2KiB/s"]
        result = septet("load", server.url, *words, "--duration", "0.8", "--warmup", "0")
    assert result.returncode == 0, result.stderr
    assert "slow clients: answers" in result.stdout
