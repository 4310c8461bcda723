"""A browser at the Flask application."""

from pathlib import Path

from real_apps.sizes import FILE_BYTES, LINES
from real_apps.visit import (
    MULTIPART,
    NAMES,
    Site,
    expect,
    expect_own_lines,
    expect_status,
    pattern,
    read_slowly_at_once,
    step,
)


def prepare(directory: Path) -> None:
    (directory / "pattern.txt").write_bytes(pattern(FILE_BYTES))


@step
def views(site: Site) -> None:
    with site.client() as browser:
        expect(expect_status(browser.get("/hello/W%C3%B6rld")).text, "Hello, Wörld!", "the greeting")
        expect(expect_status(browser.head("/hello/you")).content, b"", "the body of HEAD")
        expect_status(browser.get("/nosuch"), 404)
        expect_status(browser.post("/hello/you"), 405)
        expect_status(browser.options("/hello/you"))


@step
def async_view(site: Site) -> None:
    expect(expect_status(site.get("/async?who=me")).json(), {"who": "me"}, "the answer")


@step
def asyncio_run(site: Site) -> None:
    expect(expect_status(site.get("/run")).json(), "ran", "the answer")


@step
def stream_with_context(site: Site) -> None:
    bodies = read_slowly_at_once(site, [f"/stream?who={name}" for name in NAMES])
    expect_own_lines(bodies, NAMES, LINES)


@step
def upload(site: Site) -> None:
    content = pattern(FILE_BYTES)
    with site.client() as browser:
        files, data = {"file": ("a.bin", content)}, {"title": "Grüße"}
        response = browser.post("/upload", files=files, data=data, headers={"Content-Type": MULTIPART})
    expected = {"name": "a.bin", "size": len(content), "sum": sum(content), "title": "Grüße"}
    expect(expect_status(response).json(), expected, "what was uploaded")


@step
def session(site: Site) -> None:
    with site.client() as browser:
        for visit in (1, 2, 3):
            expect(expect_status(browser.get("/visits")).json(), visit, "the number of visits")


@step
def file(site: Site) -> None:
    with site.client() as browser:
        whole = expect_status(browser.get("/file"))
        expect(whole.content, pattern(FILE_BYTES), "the file")
        part = expect_status(browser.get("/file", headers={"Range": "bytes=100-199"}), 206)
        expect(part.content, pattern(FILE_BYTES)[100:200], "the range")
        expect_status(browser.get("/file", headers={"If-None-Match": whole.headers["etag"]}), 304)
