"""A program at the FastAPI application."""

import time
from pathlib import Path
from uuid import uuid4

from real_apps.sizes import FILE_BYTES
from real_apps.visit import LASTING_PROCESS, MULTIPART, Site, expect, expect_status, pattern, step, step_that_needs
from support.waiting import wait_until


def prepare(directory: Path) -> None:
    (directory / "pattern.txt").write_bytes(pattern(FILE_BYTES))


@step
def json(site: Site) -> None:
    with site.client() as program:
        item = {"name": "Stück", "price": 1.5}
        expect(expect_status(program.post("/items", json=item)).json(), item, "the item")
        expect_status(program.post("/items", json={"name": 1}), 422)
        expect_status(program.get("/items"), 405)
        expect_status(program.get("/nosuch"), 404)
        expect(expect_status(program.get("/thread")).json(), "a resource", "what the thread says")
        assert "/items" in expect_status(program.get("/openapi.json")).json()["paths"]
        expect_status(program.get("/docs"))


@step_that_needs(LASTING_PROCESS, reason="a child lives for one connection, and so does its lifespan task")
def lifespan_task(site: Site) -> None:
    """It must go on while the server does nothing else: thirteen ticks take 260 ms."""
    with site.client(headers={"Accept-Encoding": "identity"}) as program:
        before = expect_status(program.get("/ticks")).json()
        time.sleep(0.5)  # without requests, which is the point
        after = expect_status(program.get("/ticks")).json()
    site.observations.clear()  # the numbers are those of the moment
    assert after - before >= 13, f"the task has ticked {after - before} times in 0.5 s, not every 20 ms"


@step_that_needs(LASTING_PROCESS, reason="a child ends with its connection, and its tasks with it")
def create_task(site: Site) -> None:
    token = uuid4().hex
    expect(expect_status(site.get("/task", params={"token": token})).json(), "started", "the answer")
    site.journal.wait_for(f"task {token}")
    site.observations.clear()  # their target has the token


@step
def background_tasks(site: Site) -> None:
    token = uuid4().hex
    expect(expect_status(site.get("/background", params={"token": token})).json(), "later", "the answer")
    site.journal.wait_for(f"background {token}")
    site.journal.wait_for(f"background thread {token}")
    site.observations.clear()


@step
def events_and_a_client_that_leaves(site: Site) -> None:
    token = uuid4().hex
    with site.client() as program:
        with program.stream("GET", "/events", params={"token": token}) as response:
            lines = response.iter_lines()
            received = [next(lines) for _ in range(5)]
        fields = [(name, value) for name, value in response.headers.multi_items()]
    expect(received, ["data: 0", "", "data: 1", "", "data: 2"], "the events")
    wait_until(lambda: f"events ended {token}" in site.journal.lines(), "the application learnt that the client left")
    site.observe("GET /events", response.status_code, fields, b"")


@step
def upload(site: Site) -> None:
    content = pattern(FILE_BYTES)
    with site.client() as program:
        files, data = {"file": ("a.bin", content)}, {"title": "Grüße"}
        response = program.post("/upload", files=files, data=data, headers={"Content-Type": MULTIPART})
    expected = {"name": "a.bin", "size": len(content), "sum": sum(content), "title": "Grüße"}
    expect(expect_status(response).json(), expected, "what was uploaded")


@step
def compressed_file(site: Site) -> None:
    with site.client() as program:
        whole = expect_status(program.get("/file", headers={"Accept-Encoding": "gzip"}))
        expect(whole.headers.get("content-encoding"), "gzip", "the content's coding")
        expect(whole.content, pattern(FILE_BYTES), "the file")
        plain = {"Accept-Encoding": "identity"}
        expect(expect_status(program.get("/file", headers=plain)).content, pattern(FILE_BYTES), "the file")
        part = expect_status(program.get("/file", headers=plain | {"Range": "bytes=100-199"}), 206)
        expect(part.content, pattern(FILE_BYTES)[100:200], "the range")
        expect_status(program.head("/file", headers=plain), 405)
