"""The chat's page in a browser, over TLS, under every model."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from support.models import MODELS, refusal
from support.needs import lacking
from support.server import Server
from support.tls import Authority, TlsServer

APP = "septet.examples.chat:asgi"
HOSTILE = "<img src=x onerror=alert(1)> & more"
WAIT_MS = 20_000

#: In which one process serves one client: there a member hears only itself, unless there is Redis.
ONE_AT_A_TIME = {"iterative", "forking", "preforked"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = os.environ.get("SEPTET_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found or lacking("Chromium", "chromium"), args=["--no-sandbox"]
        )
        yield browser
        browser.close()


def open_chat(browser: Browser, server: Server) -> Page:
    assert isinstance(server.address, tuple)
    page = browser.new_page(ignore_https_errors=True)
    page.set_default_timeout(WAIT_MS)
    page.goto(f"https://localhost:{server.address[1]}/chat")
    expect(page.locator("#state")).to_have_text("open", timeout=WAIT_MS)
    return page


def say(page: Page, name: str, text: str) -> None:
    page.fill("#name", name)
    page.fill("#text", text)
    page.click("#send")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("model", MODELS)
def test_pages_that_chat(model: str, browser: Browser, authority: Authority) -> None:
    if reason := refusal(model):
        pytest.skip(reason)
    with TlsServer(authority, APP, "--model", model) as server:
        anna = open_chat(browser, server)
        say(anna, "Anna", HOSTILE)
        expect(anna.locator("li")).to_contain_text([f"Anna{HOSTILE}"], timeout=WAIT_MS)
        if model not in ONE_AT_A_TIME:
            berta = open_chat(browser, server)
            expect(berta.locator("li b")).to_have_text(["Anna"], timeout=WAIT_MS)
            say(berta, "Berta", "hello")
            for page in (anna, berta):
                expect(page.locator("li b")).to_have_text(["Anna", "Berta"], timeout=WAIT_MS)
            berta.close()
        anna.close()
