"""The page of the console in a browser, with figures that a test gives it."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

import septet.console
from support.needs import lacking
from support.status import a_status

HTML = (Path(septet.console.__file__).parent / "page.html").read_text()
WIDTHS = (390, 1280)

FIGURES = ("busy", "in flight", "answered", "connections", "CPU", "memory", "loop lag", "age")
A_REQUEST = {
    "pid": 26727,
    "thread": 26801,
    "client": "192.0.2.7",
    "method": "GET",
    "target": "/<b>",
    "status": None,
    "begun": False,
    "client_ended": False,
}


@pytest.fixture(scope="module", params=WIDTHS)
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    found = shutil.which("chromium")
    if found is None:
        lacking("Chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": request.param, "height": 900}, locale="en-US", timezone_id="UTC")
        page.route(
            "**/*",
            lambda route: (
                route.fulfill(body=HTML, content_type="text/html") if route.request.url.endswith("/") else route.abort()
            ),
        )
        page.goto("http://console.test/")
        status = a_status()
        phases = {"queue_ms": 100.0, "app_ms": 800.0, "send_ms": 100.0, "at": 46_800}
        status["slowest"] = [
            {"method": "GET", "target": "/", "status": 200, "outcome": "answered", "ms": ms} | phases
            for ms in (4000.0, 1000.0)
        ]
        worker = status["processes"][0] | {"kind": "worker", "capacity": 16, "in_flight": 23, "saturation": 0.95}
        still = worker | {"stands_still_s": 15.0, "answered": 3_106_240}
        status["processes"] = [status["processes"][0] | {"kind": "supervisor", "saturation": None}, worker, still]
        status["running"] = [A_REQUEST | {"age_s": age_s} for age_s in (3600.0, 12.3, 0.4)]
        status["slowest"].append(A_REQUEST | {"ms": 10.0, "at": 46_800, "outcome": "process ended"})
        page.evaluate("status => show(status)", status)
        yield page
        browser.close()


def test_no_table_scrolls_sideways(page: Page) -> None:
    wider = "[...document.querySelectorAll('.scroll, html')].map(each => each.scrollWidth - each.clientWidth)"
    assert set(page.evaluate(wider)) == {0}


def test_all_figures_of_a_process_are_seen(page: Page) -> None:
    """On a phone each has its name, because there is no head of the table."""
    worker = page.locator("#processes tr").nth(2)
    assert worker.locator("td").evaluate_all("cells => cells.every(cell => cell.getClientRects().length)")
    names = worker.locator("td").evaluate_all("cells => cells.map(cell => getComputedStyle(cell, '::before').content)")
    is_narrow = (page.viewport_size or {})["width"] == min(WIDTHS)
    assert names[1:] == ([f'"{name}"' for name in FIGURES] if is_narrow else ["none"] * len(FIGURES))
    assert page.locator("#processes th").first.is_visible() is not is_narrow


def test_requests_in_flight_and_how_others_have_ended(page: Page) -> None:
    rows = page.locator("#running tr").all_text_contents()
    assert [row.replace("–", "") for row in rows] == [
        "sincerequestclientprocessanswer",
        "1 hGET /<b>192.0.2.726727, thread 26801none yet",
        "12.3 sGET /<b>192.0.2.726727, thread 26801none yet",
    ]
    ended = page.locator("#slowest .ended").all_text_contents()
    assert ended == ["200", "200", "process ended"]


def test_key_to_the_colours_is_whole(page: Page) -> None:
    """A square is on the same line as its word."""
    assert page.evaluate("[...document.querySelectorAll('.key')].map(key => key.getClientRects().length)") == [1, 1, 1]


def test_bars_are_as_long_as_the_requests_took(page: Page) -> None:
    longest, shorter, *_ = page.evaluate(
        "[...document.querySelectorAll('.phases')].map(bar => bar.getBoundingClientRect().width)"
    )
    assert longest / shorter == pytest.approx(4, rel=0.05)


def test_times_are_those_of_the_log(page: Page) -> None:
    text = page.locator("#events").inner_text()
    assert re.search(r"^00:00:00\b", text, re.MULTILINE), text
    assert "13:00:00" in (page.locator("#slowest").text_content() or "")
