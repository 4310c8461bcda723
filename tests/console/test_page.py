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
            {"method": "GET", "target": "/", "status": 200, "ms": ms} | phases for ms in (4000.0, 1000.0)
        ]
        page.evaluate("status => show(status)", status)
        yield page
        browser.close()


def test_key_to_the_colours_is_whole(page: Page) -> None:
    """A square is on the same line as its word."""
    assert page.evaluate("[...document.querySelectorAll('.key')].map(key => key.getClientRects().length)") == [1, 1, 1]


def test_bars_are_as_long_as_the_requests_took(page: Page) -> None:
    longest, shorter = page.evaluate(
        "[...document.querySelectorAll('.phases')].map(bar => bar.getBoundingClientRect().width)"
    )
    assert longest / shorter == pytest.approx(4, rel=0.05)


def test_times_are_those_of_the_log(page: Page) -> None:
    text = page.locator("#events").inner_text()
    assert re.search(r"^00:00:00\b", text, re.MULTILINE), text
    assert "13:00:00" in (page.locator("#slowest").text_content() or "")
