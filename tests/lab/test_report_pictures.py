"""The pictures as data and as files: what is drawn where, and that it can be told apart."""

import csv
import itertools
import struct
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from typing import Any

import altair
import jsonschema
import pytest

from septet.lab import palette
from septet.lab.report import drawing, scales
from septet.lab.report.drawing import NARROW, WIDE, Form, Picture
from septet.lab.report.save import save, sections
from septet.lab.results import Results
from septet.lab.summary import summaries
from support.colours import VISIONS, contrast, distance
from support.made_up_results import MIXED, failed, results_of, valid

REPEATED = results_of(*(valid("epoll", 20, rate, repeat=place) for place, rate in enumerate([1000.0, 1010, 1030], 1)))


def pictures(recorded: Results) -> dict[str, Picture]:
    return {
        picture.name: picture for section in sections(recorded, summaries(recorded)) for picture in section.pictures
    }


def rates(recorded: Results, form: Form = WIDE) -> dict[str, Any]:
    return pictures(recorded)["requests-per-second"].draw(form)


def layers(picture: dict[str, Any], mark: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The layers with this mark in the upper part, and the rows of each."""
    found = [layer for layer in picture["vconcat"][0]["layer"] if layer["mark"]["type"] == mark]
    return [(layer, picture["datasets"][layer["data"]["name"]]) for layer in found]


@pytest.mark.parametrize("form", [WIDE, NARROW], ids=lambda form: form.name)
@pytest.mark.parametrize("recorded", [MIXED, REPEATED], ids=["mixed", "repeated"])
def test_pictures_are_valid(recorded: Results, form: Form) -> None:
    """By the schema of Vega-Lite, which is not asked when a report is made."""
    drawn = [picture.draw(form) for picture in pictures(recorded).values()]
    assert drawn
    validator = jsonschema.Draft7Validator(altair.load_schema())
    for each in drawn:
        validator.validate(each)


def test_failed_cells_are_gaps_not_zeros() -> None:
    picture = rates(MIXED)
    ((_, rows),) = layers(picture, "line")
    assert [(row["x"], row["y"]) for row in rows if row["label"] == "iterative"] == [(20, 2900.4), (100, None)]
    crosses = picture["datasets"][picture["vconcat"][1]["layer"][0]["data"]["name"]]
    assert [(row["label"], row["x"]) for row in crosses] == [("iterative", 100)]


def test_what_is_not_valid_is_hollow() -> None:
    _, points = layers(rates(MIXED), "point")[0]
    fills = {(row["label"], row["x"]): row["fill"] == "white" for row in points}
    assert fills == {("iterative", 20): False, ("threaded", 20): False, ("epoll", 20): True, ("epoll", 100): True}


def test_axis_of_rates_begins_at_zero() -> None:
    (layer, _), *_ = layers(rates(MIXED), "line")
    assert layer["encoding"]["y"]["scale"] == {"type": "linear", "domain": [0, 5000], "nice": False, "zero": False}


def test_the_seed_is_drawn_faintly_beside_ours() -> None:
    picture = rates(results_of(valid("epoll", 20, 900), valid("epoll", 1000, 900), profile="seed"))
    (layer, faint), _ = layers(picture, "line")
    assert layer["mark"]["opacity"] < 0.5
    assert (faint[0]["x"], faint[0]["y"]) == (20, 2050.0)
    assert (faint[-1]["x"], faint[-1]["y"]) == (1000, 2439.0)


def test_intervals_are_drawn_where_they_are_known() -> None:
    (_, bars), _ = layers(rates(REPEATED), "rule")
    assert [(row["low"], row["high"]) for row in bars] == [(1000.0, 1030.0)]
    assert len(layers(rates(MIXED), "rule")) == 1  # what leads to the names


def test_ranges_of_users_have_pictures_of_their_own_where_there_are_enough() -> None:
    few = results_of(*(valid("epoll", users, 100) for users in (20, 100, 1000, 5000)))
    many = results_of(*(valid("epoll", users, 100) for users in (20, 100, 1000, 2000, 5000, 9000)))
    assert [name for name in pictures(few) if name.startswith("cpu")] == ["cpu", "cpu-to-1000"]
    assert [name for name in pictures(many) if name.startswith("cpu")] == ["cpu", "cpu-to-1000", "cpu-above-1000"]


def test_errors_have_a_picture_only_when_there_are_some() -> None:
    assert "errors" not in pictures(results_of(valid("epoll", 20, 100)))
    record = valid("epoll", 20, 100)
    record["load"]["errors"] = {"reset": 1000}
    recorded = results_of(record)
    section = next(each for each in sections(recorded, summaries(recorded)) if each.pictures[0].name == "errors")
    assert section.table == [["% of all requests", "20 users"], ["epoll", "50"]]


def test_sweeps_are_lines_of_their_own_in_the_colour_of_the_model() -> None:
    swept = results_of(*(valid("epoll", users, 10, workers=each) for each in "12" for users in (1, 2)))
    _, points = layers(rates(swept), "point")[0]
    assert {row["label"]: row["colour"] for row in points} == dict.fromkeys(
        ("epoll workers=1", "epoll workers=2"), palette.style_of("epoll").colour
    )
    assert len({row["shape"] for row in points}) == 2


def test_distribution_merges_repeats_and_ends_at_the_last_request() -> None:
    section = sections(REPEATED, summaries(REPEATED))[-1]
    ((_, rows),) = layers(section.pictures[0].draw(WIDE), "line")
    assert rows[-1]["x"] == 3000  # of which one is beyond it
    assert rows[-1]["y"] == pytest.approx(2.0, rel=0.01)
    halfway = min(rows, key=lambda row: abs(row["x"] - 2))
    assert halfway["y"] == pytest.approx(1.5, rel=0.02)
    assert section.table[1][-1] == "3,000"
    assert "medians of the runs" in section.remark, "its p99 is not that of the other tables"


def test_distribution_of_a_window_that_was_too_short() -> None:
    record = valid("iterative", 500, 1000)
    section = sections(results_of(record), summaries(results_of(record)))[-1]
    assert section.table[1][1].startswith("≥1.5")


@pytest.mark.parametrize(
    "recorded",
    [
        MIXED,
        results_of(failed("epoll", 50, "x" * 400)),
        results_of(valid("x", 1, 2)),
        results_of(valid("epoll", 20, 900), valid("poll", 1000, 900), profile="seed"),
        results_of(valid("epoll", 20, 900, workers="1"), valid("epoll", 20, 1900, workers="2")),
    ],
    ids=["mixed", "all failed", "one user", "seed", "sweep"],
)
def test_every_line_has_its_name(recorded: Results) -> None:
    cells = summaries(recorded)
    for form in (WIDE, NARROW):
        texts = texts_of(rates(recorded, form))
        assert all(label in texts or f"{label} failed" in texts for label in {cell.label for cell in cells})
    (name,) = [name for name in pictures(recorded) if name.startswith("at-")]
    users = int(name.split("-")[1])
    assert {cell.label for cell in cells if cell.users == users} <= texts_of(pictures(recorded)[name].draw(NARROW))


def texts_of(picture: dict[str, Any]) -> set[str | None]:
    svg = ElementTree.fromstring(drawing.inline_svg(drawing.still(picture), "x-"))
    return {element.text for element in svg.iter()}


@pytest.mark.timeout(300)
def test_files(tmp_path: Path) -> None:
    page, svg, png, charts = save(REPEATED, summaries(REPEATED), tmp_path)
    assert page.name == "report.html"
    texts = [element.text for element in ElementTree.parse(svg).iter() if element.text]
    assert "Requests per second under each process model" in texts
    assert "prefers-color-scheme" in svg.read_text()
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert min(struct.unpack(">II", data[16:24])) > 900
    stems = {
        "at-20-users",
        "cpu",
        "latency-distribution-20",
        "latency-p50",
        "latency-p99",
        "memory",
        "switches",
        "glance",
    }
    kinds = ("svg", "png", "csv")
    assert {path.name for path in charts.iterdir()} == {f"{stem}.{kind}" for stem in stems for kind in kinds}
    for chart in charts.glob("*.csv"):
        heads, *rows = csv.reader(chart.read_text().splitlines())
        assert rows
        assert {len(row) for row in rows} == {len(heads)}
    assert chart_rows(svg.with_suffix(".csv"), "epoll")[0][1] == "20"
    assert chart_rows(charts / "at-20-users.csv", "epoll")[0][0] == "Requests per second"


def chart_rows(path: Path, label: str) -> list[list[str]]:
    """The rows of a contender in a chart's CSV."""
    return [row for row in csv.reader(path.read_text().splitlines()) if label in row]


@pytest.mark.parametrize("values", [[], [0.5], [0.1, 0.1, 0.1], [0, 0, 0.1, 0.9], [0.1, 0.2, 0.3], [1.0] * 8])
def test_names_are_moved_apart(values: list[float]) -> None:
    places = scales.spread(values, 0.1, 0.05, 0.95)
    assert all(upper - lower > 0.099 for lower, upper in pairwise(places))
    assert places == sorted(places)
    assert all(0.04 < place < 0.96 for place in places)
    if values == [0.1, 0.2, 0.3]:
        assert places == pytest.approx(values)


def test_axes() -> None:
    assert scales.values_scale([0, 4312]).ticks == (0, 1000, 2000, 3000, 4000, 5000)
    assert scales.values_scale([90, 100]).low == 0
    wide = scales.values_scale([0.9, 90])
    assert wide.logarithmic
    assert wide.ticks == (1, 2, 5, 10, 20, 50, 100)
    assert scales.values_scale([9, 90_000]).ticks == (10, 100, 1000, 10_000, 100_000)
    assert not scales.values_scale([0.9, 1200], always_linear=True).logarithmic
    assert scales.values_scale([]).high > 0
    assert wide.value(wide.share(42)) == pytest.approx(42)


def test_numbers_at_the_axis_do_not_touch() -> None:
    users = [20, 50, 100, *range(200, 1001, 100), 1500, 2000, 2500, 3000, 5000, 8000, *range(10000, 15001, 1000)]
    for form in (WIDE, NARROW):
        scale = scales.users_scale(users, form.width, 100, form.character)
        assert {20, 100, 1000, 15000} <= set(scale.ticks)
        places = [(scale.share(tick) * form.width, len(f"{tick:,.0f}") * form.character) for tick in scale.ticks]
        for (left, one), (right, other) in pairwise(places):
            assert right - left > (one + other) / 2


def test_each_model_has_its_own_look() -> None:
    """On both papers, and for all kinds of colour vision."""
    styles = palette.STYLES.values()
    for paper, colours in (
        ("#ffffff", [style.colour for style in styles]),
        (drawing.DARK["white"], [style.dark for style in styles]),
    ):
        assert min(contrast(colour, paper) for colour in colours) >= 3
        for vision in VISIONS:
            assert min(distance(*pair, vision) for pair in itertools.combinations(colours, 2)) >= 22
    assert palette.style_of("something new") == palette.style_of("something new")
