"""report.html: its words, and what a browser makes of it."""

import base64
import csv
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from septet.lab.report.glance import Page as MeasuredPage
from septet.lab.report.page import PICTURES, read_traces, specifications
from septet.lab.report.page import page as html
from septet.lab.report.save import sections
from septet.lab.summary import summaries
from support.colours import contrast
from support.made_up_results import failed, results_of, split_request, valid
from support.needs import lacking

HOSTILE = "<script>alert('label')</script>"
SENTENCE = "</script><img src=http://127.0.0.1:9/x onerror=alert(1)>"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="900" height="40"><rect width="9" height="9"/></svg>'
WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")
pytestmark = pytest.mark.timeout(300)  # for the pictures: 4 s of CPU time
WAIT_MS = 60_000  # for a browser on a machine with other things to do


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and ranges enough for every kind of picture, and words that would like to be more than words."""
    users = (20, 100, 1000, 2000)
    rates = {"epoll": 4000.0, "threaded": 2000.0, HOSTILE: 900.0}
    records = [valid(model, number, rate) for model, rate in rates.items() for number in users]
    records += [failed("forking", number, SENTENCE) for number in users]
    recorded = results_of(*records, profile="seed", app=SENTENCE)
    cells = [split_request(model, number, listen=0.3, gil=0.4) for model in rates for number in users]
    recorded["where"] = {"cells": cells, "skipped": SENTENCE}
    recorded["runs"][0]["command"] = ["septet", "serve", SENTENCE]
    directory = tmp_path_factory.mktemp("report")
    _trace(directory / "trace")
    path = directory / "report.html"
    summed = summaries(recorded)
    found = sections(recorded, summed)
    path.write_text(html([MeasuredPage(recorded, summed)], found, specifications(found), read_traces(directory)))
    return path


def test_every_picture_has_its_figures_as_csv(report: Path) -> None:
    text = report.read_text()
    names = re.findall(r'data-picture="([^"]+)"', text)
    links = dict(re.findall(r'href="data:text/csv;charset=utf-8;base64,([^"]+)" download="([^"]+)"', text))
    assert sorted(links.values()) == sorted(f"{name}.csv" for name in names)
    for data in links:
        heads, *rows = csv.reader(base64.b64decode(data).decode().splitlines())
        assert rows
        assert len(heads) >= 3


def _trace(directory: Path) -> None:
    directory.mkdir()
    models = [
        {"model": "epoll", "way": "switches", "records": 9, "lost": 2, "shares": [{"model": "epoll", "idle": "90 %"}]},
        {"model": "poll", "way": "samples", "records": 9, "lost": 0, "shares": [{"model": "poll", "GIL": "1 %"}]},
    ]
    (directory / "trace.json").write_text(json.dumps({"models": models}))
    for name in PICTURES:
        (directory / f"{name}.svg").write_text(SVG)


def test_words_remain_words(report: Path) -> None:
    text = report.read_text()
    assert HOSTILE not in text
    assert SENTENCE not in text
    assert "&lt;script&gt;" in text


def test_the_trace_says_how_it_was_recorded(report: Path) -> None:
    told = read_traces(report.parent)
    assert told is not None
    assert told.remarks[1].startswith("epoll: Recorded by perf_event_open")
    assert told.remarks[2].startswith("poll: Recorded by looking into /proc")
    assert told.remarks[3] == "2 records were lost."
    assert told.table == [["model", "idle", "GIL"], ["epoll", "90 %", ""], ["poll", "", "1 %"]]
    assert read_traces(report) is None


def chromium() -> str:
    found = os.environ.get("SEPTET_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    return found or lacking("Chromium", "chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"], timeout=WAIT_MS)
        yield started
        started.close()


class Visit:
    """A look at the page from a browser without a network, which notes what the page asks for and complains of."""

    def __init__(self, browser: Browser, width: int, scheme: Any = "light", script: bool = True) -> None:
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script, offline=True
        )
        self.context.set_default_timeout(WAIT_MS)
        self.page: Page = self.context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))

    def open(self, report: Path) -> Page:
        self.page.goto(report.as_uri())
        return self.page

    def close(self, report: Path) -> None:
        self.context.close()
        assert [url for url in self.asked if not url.startswith("data:")] == [report.as_uri()]
        assert self.complaints == []


@pytest.mark.parametrize("width", WIDTHS)
def test_without_a_script(browser: Browser, report: Path, width: int) -> None:
    visit = Visit(browser, width, script=False)
    page = visit.open(report)
    form = "narrow" if width < 700 else "wide"
    charts = page.locator(f"figure.chart .{form} svg")
    visible = [chart for chart in charts.all() if chart.is_visible()]
    assert len(visible) == page.locator("section.pictures").count() == 9
    assert all(box["width"] > 280 and box["height"] > 200 for chart in visible if (box := chart.bounding_box()))
    assert page.locator("figure.trace img").count() == 2
    page.get_by_text("up to 1,000").first.click()
    assert page.locator("#section-1 figure.choice-2").is_visible()
    assert not page.locator("#section-1 figure.choice-1").is_visible()
    visit.close(report)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_in_a_browser(browser: Browser, report: Path, width: int, scheme: str) -> None:
    """Nothing sticks out, everything can be read, and whoever points at a mark is told its figure."""
    visit = Visit(browser, width, scheme)
    page = visit.open(report)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    _assert_legible(page, "still")
    x, y = _point_at_a_mark(page)
    page.mouse.move(x, y)
    page.wait_for_selector("#vg-tooltip-element.visible")
    told = page.locator("#vg-tooltip-element").inner_text().split()
    assert {"line", "users", "figure", "requests/s", "verdict"} <= set(told)
    box = page.locator("#vg-tooltip-element").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    _assert_legible(page, "live")
    visit.close(report)


def test_on_paper(browser: Browser, report: Path) -> None:
    """What is folded away and explains the figures is printed, too: a sheet has nothing to click on."""
    visit = Visit(browser, 794)  # A4 at 96 dots per inch
    page = visit.open(report)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = false")
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    assert page.locator("#models dt").all_inner_texts() == ["epoll", "threaded", "forking"]
    folded = page.locator("#summary details:not([open]) li")
    assert folded.count() > 0
    assert all(each.bounding_box() for each in [*folded.all(), *page.locator("#models dd").all()])
    visit.close(report)


def _point_at_a_mark(page: Page) -> tuple[float, float]:
    """Wakes the first chart; the middle of one of its hotspots."""
    figure = page.locator("figure.chart").first
    figure.scroll_into_view_if_needed()
    figure.hover()
    page.wait_for_selector("figure[data-alive] .live svg")
    found: list[float] = page.evaluate(
        """() => {
            const marks = [...document.querySelectorAll("figure[data-alive] .live path[opacity='0']")];
            const box = marks[Math.floor(marks.length / 2)].getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }"""
    )
    return found[0], found[1]


# The text's own colour, and that of the first ancestor that is painted.
_COLOURS = """(which) => {
    const solid = (text) => {
        const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
        return a ? '#' + [r, g, b].map((each) => each.toString(16).padStart(2, '0')).join('') : null;
    };
    const paper = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const found = solid(getComputedStyle(each).backgroundColor);
            if (found) return found;
        }
        return null;
    };
    const words = [...document.querySelectorAll('h1, h2, p, li, summary, th, td, pre, a, label')]
        .map((each) => [each.textContent.slice(0, 40), solid(getComputedStyle(each).color), paper(each)]);
    const drawn = [...document.querySelectorAll(`figure.chart .${which} text`)]
        .filter((each) => !['white', 'none'].includes(each.getAttribute('fill')) && each.textContent != '✕')
        .map((each) => [each.textContent, solid(getComputedStyle(each).fill), paper(each)]);
    return [words, drawn];
}"""


def _assert_legible(page: Page, which: str) -> None:
    """Contrast of 4.5, as WCAG 2.1 wants it of text (1.4.3)."""
    words, drawn = page.evaluate(_COLOURS, which)
    assert len(words) > 50
    assert len(drawn) > 10
    assert [each for each in words + drawn if contrast(each[1], each[2]) < 4.5] == []


def test_a_zoomed_chart_goes_back(browser: Browser, report: Path) -> None:
    """Ctrl and the wheel zoom; the wheel alone scrolls the page."""
    visit = Visit(browser, 1280)
    page = visit.open(report)
    x, y = _point_at_a_mark(page)
    labels = "[...document.querySelectorAll('figure[data-alive] .live .role-axis-label text')]"
    numbers = f"{labels}.map((each) => each.textContent).sort()"  # those that come back come last
    before = page.evaluate(numbers)
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    page.wait_for_function(f"(before) => JSON.stringify({numbers}) != JSON.stringify(before)", arg=before)
    page.mouse.dblclick(x, y)
    page.wait_for_function(f"(before) => JSON.stringify({numbers}) == JSON.stringify(before)", arg=before)
    height = page.evaluate("scrollY")
    page.mouse.wheel(0, 300)
    page.wait_for_function("(height) => scrollY > height", arg=height)
    visit.close(report)
