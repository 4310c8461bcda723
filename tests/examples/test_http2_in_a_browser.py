"""A browser that speaks HTTP/2 to the server: many requests at once on one connection, uploads, cancelled requests, and
a WebSocket beside them (RFC 8441)."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from support.needs import lacking
from support.tls import Authority, TlsServer

WAIT_MS = 20_000

FETCH = """async () => {
    const sizes = [...Array(40).keys()].map(number => 1000 + number);
    const get = size => fetch(`/send?size=${size}`).then(answer => answer.arrayBuffer());
    const texts = await Promise.all(sizes.map(get));
    const upload = {method: "POST", body: new Uint8Array(300000)};
    const sent = await fetch("/read?how=all", upload).then(answer => answer.json());
    const stop = new AbortController();
    const endless = await fetch("/send?size=40000000&parts=1000", {signal: stop.signal});
    await endless.body.getReader().read();
    stop.abort();
    const after = await get(5);
    const protocols = performance.getEntriesByType("resource").map(entry => entry.nextHopProtocol);
    return [texts.map(text => text.byteLength), sent.length, after.byteLength, [...new Set(protocols)]];
}"""

TALK = """() => new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://${location.host}/echo?token=browser`);
    socket.onopen = () => socket.send("hello over a stream");
    socket.onmessage = event => { socket.close(1000); resolve(event.data); };
    socket.onerror = () => reject(new Error("the socket failed"));
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = os.environ.get("SEPTET_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found or lacking("Chromium", "chromium"), args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.mark.parametrize("model", ["epoll", "threaded"])
def test_chromium(browser: Browser, tmp_path: Path, model: str) -> None:
    log = tmp_path / "access.log"
    options = ("--model", model, "--access-log", str(log), "--access-log-format", "json")
    with TlsServer(Authority(tmp_path / "authority"), "support.app_websocket:app", *options) as server:
        assert isinstance(server.address, tuple)
        page = browser.new_page(ignore_https_errors=True)
        page.set_default_timeout(WAIT_MS)
        page.goto(f"https://localhost:{server.address[1]}/")
        sizes, length, after, protocols = page.evaluate(FETCH)
        assert (sizes, length, after) == ([1000 + number for number in range(40)], 300_000, 5)
        assert protocols == ["h2"]
        assert page.evaluate(TALK) == "hello over a stream"
        server.journal.wait_for("browser 1000 ")
        page.close()
    assert '"CONNECT"' in log.read_text()  # the WebSocket was a stream
