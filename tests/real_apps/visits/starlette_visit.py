"""A browser at the Starlette application."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from websockets.exceptions import InvalidStatus

from real_apps.sizes import FILE_BYTES, LINES
from real_apps.visit import (
    MULTIPART,
    NAMES,
    Site,
    expect,
    expect_own_lines,
    expect_status,
    open_websocket,
    pattern,
    read_slowly_at_once,
    step,
)


def prepare(directory: Path) -> None:
    (directory / "static").mkdir()
    (directory / "static" / "pattern.txt").write_bytes(pattern(FILE_BYTES))


@step
def views(site: Site) -> None:
    with site.client() as browser:
        expect(expect_status(browser.get("/hello/W%C3%B6rld")).text, "Hello, Wörld!", "the greeting")
        expect_status(browser.head("/hello/you"))
        expect_status(browser.get("/nosuch"), 404)
        expect(expect_status(browser.get("/away"), 307).headers["location"], f"{site.url}/hello/you", "where it leads")


@step
def streams_at_once(site: Site) -> None:
    bodies = read_slowly_at_once(site, [f"/stream?who={name}" for name in NAMES])
    expect_own_lines(bodies, NAMES, LINES)


@step
def echo(site: Site) -> None:
    with site.client() as program:
        expect(expect_status(program.post("/echo", content=_pieces())).content, b"".join(_pieces()), "the echo")


def _pieces() -> Iterator[bytes]:
    """httpx sends what comes from a generator in the chunked coding."""
    for _ in range(20):
        yield pattern(10_000)


@step
def form(site: Site) -> None:
    with site.client() as browser:
        files, data = {"file": ("a.bin", pattern(FILE_BYTES))}, {"title": "Grüße"}
        response = browser.post("/form", files=files, data=data, headers={"Content-Type": MULTIPART})
    expect(expect_status(response).json(), {"title": "Grüße", "size": FILE_BYTES}, "the form")


@step
def session(site: Site) -> None:
    with site.client() as browser:
        for visit in (1, 2, 3):
            expect(expect_status(browser.get("/visits")).json(), visit, "the number of visits")


@step
def background_task(site: Site) -> None:
    token = uuid4().hex
    expect(expect_status(site.get("/background", params={"token": token})).text, "later", "the answer")
    site.journal.wait_for(f"background {token}")
    site.observations.clear()  # their target has the token


@step
def static_file(site: Site) -> None:
    with site.client() as browser:
        whole = expect_status(browser.get("/static/pattern.txt"))
        expect(whole.content, pattern(FILE_BYTES), "the file")
        part = expect_status(browser.get("/static/pattern.txt", headers={"Range": "bytes=100-199"}), 206)
        expect(part.content, pattern(FILE_BYTES)[100:200], "the range")
        expect_status(browser.head("/static/pattern.txt"))
        expect_status(browser.get("/static/pattern.txt", headers={"If-None-Match": whole.headers["etag"]}), 304)


@step
def talk(site: Site) -> None:
    name = uuid4().hex
    with open_websocket(site, f"/talk/{name}", subprotocols=["talk", "other"]) as socket:
        expect(socket.subprotocol, "talk", "the subprotocol")
        assert socket.response is not None
        expect(socket.response.headers["x-talk"], "yes", "a field of the answer")
        expect(socket.recv(), f"Hello, {name}!", "the greeting")
        for said in ("Grüße", ["a", 1], {"b": "x" * 100_000}):
            socket.send(json.dumps(said))
            expect(json.loads(socket.recv()), {"you said": said}, "the answer")
        socket.close(4000)
    site.journal.wait_for(f"talk with {name} ended 4000")


@step
def no_talk(site: Site) -> None:
    for target, status in (("/closed", 418), ("/nosuch", 403)):
        try:
            open_websocket(site, target)
        except InvalidStatus as refused:
            expect(refused.response.status_code, status, f"the status at {target}")
        else:
            raise AssertionError(f"a WebSocket was opened at {target}")
