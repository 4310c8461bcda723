"""`septet bench --live`: the state that is written, the server that shows it, and what a browser makes of it."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.live import START, LiveDisplay, LivePage, serving
from support.made_up_results import failed, valid
from support.needs import lacking
from support.waiting import wait_until

WAIT_MS = 60_000  # for a browser on a machine with other things to do
pytestmark = pytest.mark.timeout(300)


class Silent:
    """A terminal's display that shows nothing."""

    def begin(self, run: Run) -> None: ...
    def receive(self, event: str, details: dict[str, Any]) -> None: ...
    def end(self, run: Run, record: dict[str, Any]) -> None: ...
    def tell(self, state: str) -> None: ...


def display_of(path: Path, repeats: int = 5) -> LiveDisplay:
    experiment = Experiment(out=Path("out"), models=("epoll", "threaded", "forking"), users=(20, 100, 1000))
    return LiveDisplay(Silent(), LivePage(path), experiment, repeats * 9, [])


def fill(display: LiveDisplay, repeats: range) -> None:
    """Runs that scatter less the more there are, as it were; forking fails at 1,000 users."""
    for repeat in repeats:
        for users, factor in ((20, 1.0), (100, 1.2), (1000, 0.9)):
            for model, rate in (("epoll", 4000.0), ("threaded", 2000.0), ("forking", 300.0)):
                run = Run(Cell(model, users), repeat)
                scatter = 1 + 0.15 * (-1) ** repeat / repeat
                record = valid(model, users, rate * factor * scatter, repeat=repeat)
                if (model, users) == ("forking", 1000):
                    record = failed(model, users, "it ended", repeat)
                display.begin(run)
                display.end(run, record)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def line(state: Any, label: str) -> Any:
    return next(each for each in state["figures"][0]["lines"] if each["label"] == label)


def test_the_state_grows_and_its_intervals_shrink(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    display = display_of(path)
    assert read(path).keys() == START.keys()
    fill(display, range(1, 2))
    first = line(read(path), "epoll")["points"][0]
    assert (first["users"], first["low"]) == (20, None), "one run has no interval"
    assert 0.19 < read(path)["done"] < 0.21
    fill(display, range(2, 4))
    few = line(read(path), "epoll")["points"][0]
    fill(display, range(4, 10))
    many = line(read(path), "epoll")["points"][0]
    assert many["high"] - many["low"] < few["high"] - few["low"]
    assert line(read(path), "forking")["failed"] == [1000]
    assert "Measuring forking with 1,000 users" in read(path)["now"]
    display.tell("epoll and poll are open")
    assert read(path)["open"] == "epoll and poll are open"
    display.close(last=False)
    assert not read(path)["finished"], "another page follows"
    display.close(last=True)
    assert read(path)["finished"]
    assert "out/report.html" in read(path)["now"]


def test_an_experiment_that_is_resumed_shows_what_it_had(tmp_path: Path) -> None:
    experiment = Experiment(out=Path("out"), models=("epoll",), users=(20,))
    LiveDisplay(Silent(), LivePage(tmp_path / "state"), experiment, 1, [valid("epoll", 20, 900.0)])
    assert [point["users"] for point in line(read(tmp_path / "state"), "epoll")["points"]] == [20]


def events(url: str) -> Iterator[Any]:
    """The states that the server sends, until it ends the stream."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    try:
        connection.request("GET", "/events")
        answer = connection.getresponse()
        assert answer.headers["content-type"] == "text/event-stream"
        for each in answer:
            if each.startswith(b"data: "):
                yield json.loads(each[6:])
    finally:
        connection.close()


def test_a_server_of_its_own_sends_each_state_and_ends_with_the_last() -> None:
    with serving(()) as (page, url):
        told = events(url)
        assert next(told) == START
        page.write({**START, "now": "measuring"})
        assert next(told)["now"] == "measuring"
        page.write({**START, "finished": True})
        assert next(told)["finished"]
        assert list(told) == []
        port = urlsplit(url).port
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/")


def chromium() -> str:
    found = os.environ.get("SEPTET_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    return found or lacking("Chromium", "chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"], timeout=WAIT_MS)
        yield started
        started.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_as_it_grows(width: int, scheme: Any, browser: Browser, tmp_path: Path) -> None:
    with serving(()) as (page_file, url):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        asked, complaints = list[str](), list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        page.get_by_text("Trying whether the application answers").wait_for()

        display = LiveDisplay(
            Silent(),
            page_file,
            Experiment(out=Path("out"), models=("epoll", "threaded", "forking"), users=(20, 100, 1000)),
            45,
            [],
        )
        fill(display, range(1, 4))
        page.get_by_text("for the third time").wait_for()
        expect(page.locator("svg")).to_have_count(2, timeout=WAIT_MS)
        expect(page.locator("line.interval")).to_have_count(16, timeout=WAIT_MS)  # forking has failed at 1,000 users

        def height() -> float:
            # In one step of the page, which may draw the chart anew between two: a line that was taken out has none.
            return float(page.evaluate("document.querySelector('svg .interval').getBBox().height"))

        before = height()
        assert before > 0
        fill(display, range(4, 10))
        page.get_by_text("for the 9th time").wait_for()
        wait_until(lambda: height() < before, "the interval has shrunk")
        assert page.locator("td", has_text="failed").count() == 2
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/live-{width}-{scheme}.png", full_page=True)

        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out at the side"
        paper = page.locator("body").evaluate("each => getComputedStyle(each).backgroundColor")
        assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(30, 30, 30)")
        places = page.evaluate(
            """() => {
                const svg = document.querySelector("svg"), around = svg.getBoundingClientRect()
                return [...svg.querySelectorAll("text")].map(each => {
                    const box = each.getBoundingClientRect()
                    return [each.textContent, box.left - around.left, around.right - box.right]
                })
            }"""
        )
        assert places
        for text, left, right in places:
            assert min(left, right) >= -1, f"{text} is cut off"

        display.close(last=True)
        page.get_by_text("The runs are over").wait_for()
        assert {urlsplit(each).netloc for each in asked if not each.startswith("data:")} == {urlsplit(url).netloc}
        assert complaints == []
        context.close()


def test_bench_prints_the_address_and_its_server_ends_with_it(app: str, tmp_path: Path) -> None:
    words = ["--models", "epoll", "--users", "2", "--duration", "0.3", "--warmup", "0.1", "--warmup-max", "0.1"]
    with subprocess.Popen(
        [sys.executable, "-m", "septet", "bench", app, *words, "--repeats", "200", "--live", "--out", "out"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        found = re.search(r"live: (http://127\.0\.0\.1:\d+/)", process.stderr.readline())
        assert found is not None
        told = events(found[1])
        assert next(state for state in told if state["figures"] and state["figures"][0]["lines"][0]["points"])
        told.close()  # type: ignore[attr-defined]
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert process.returncode == 130

    def has_gone() -> bool:
        try:
            http.client.HTTPConnection("127.0.0.1", urlsplit(found[1]).port, timeout=5).request("GET", "/")
        except OSError:
            return True
        return False

    wait_until(has_gone, "the server of the page has ended")
