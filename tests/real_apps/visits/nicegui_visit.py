"""A browser at the NiceGUI application: it clicks and types, and sees what the server makes of it."""

import os
import shutil
from pathlib import Path

from playwright.sync_api import expect as shows
from playwright.sync_api import sync_playwright

from real_apps.visit import CONCURRENCY, SHARED_MEMORY, Site, step_that_needs

WAIT_MS = 30_000


def prepare(directory: Path) -> None:
    pass


@step_that_needs(SHARED_MEMORY, CONCURRENCY, reason="a page's elements are in its process's memory")
def clicks(site: Site) -> None:
    found = os.environ.get("SEPTET_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        transports = []
        page.on("websocket", lambda socket: transports.append(socket.url))
        page.goto(site.url)
        for number in range(1, 4):
            page.click("text=more")
            shows(page.get_by_text(f"clicked {number} times")).to_be_visible(timeout=WAIT_MS)
        page.get_by_label("name").fill("Grüße")
        shows(page.get_by_text("Grüße", exact=True)).to_be_visible(timeout=WAIT_MS)
        browser.close()
    assert transports, "the page has spoken by polling alone"
