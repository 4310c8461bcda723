"""A browser at the Bottle application."""

from pathlib import Path

from real_apps.sizes import FILE_BYTES, LINES
from real_apps.visit import NAMES, Site, expect, expect_own_lines, expect_status, pattern, read_slowly_at_once, step


def prepare(directory: Path) -> None:
    (directory / "pattern.txt").write_bytes(pattern(FILE_BYTES))


@step
def views(site: Site) -> None:
    with site.client() as browser:
        response = expect_status(browser.get("/hello/W%C3%B6rld"))
        expect(response.text, "Hello, Wörld!", "the greeting")
        expect(response.headers.get_list("x-twice"), ["1", "2"], "the repeated field")
        expect_status(browser.head("/hello/you"))
        expect_status(browser.get("/nosuch"), 404)


@step
def request_in_a_generator(site: Site) -> None:
    bodies = read_slowly_at_once(site, [f"/stream?who={name}" for name in NAMES])
    expect_own_lines(bodies, NAMES, LINES)


@step
def form(site: Site) -> None:
    values = {"name": "Jürgen", "remark": "a b"}
    with site.client() as browser:
        expect(expect_status(browser.post("/form", data=values)).json(), values, "the form")


@step
def file(site: Site) -> None:
    with site.client() as browser:
        whole = expect_status(browser.get("/file"))
        expect(whole.content, pattern(FILE_BYTES), "the file")
        part = expect_status(browser.get("/file", headers={"Range": "bytes=100-199"}), 206)
        expect(part.content, pattern(FILE_BYTES)[100:200], "the range")
        modified = {"If-Modified-Since": whole.headers["last-modified"]}
        expect_status(browser.get("/file", headers=modified), 304)
