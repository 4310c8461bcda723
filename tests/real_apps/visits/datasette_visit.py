"""A browser at Datasette, and a program at its JSON and CSV."""

import sqlite3
from pathlib import Path

from real_apps.visit import Site, expect, expect_status, step

ROWS = 2500


def prepare(directory: Path) -> None:
    database = sqlite3.connect(directory / "birds.db")
    with database:
        database.execute("CREATE TABLE birds (id INTEGER PRIMARY KEY, name TEXT)")
        database.executemany("INSERT INTO birds (name) VALUES (?)", [(f"bird {row}",) for row in range(ROWS)])
    database.close()


@step
def pages(site: Site) -> None:
    with site.client() as browser:
        assert "birds" in expect_status(browser.get("/")).text
        assert "bird 7" in expect_status(browser.get("/birds/birds")).text
        assert "bird 6" in expect_status(browser.get("/birds/birds/7")).text
        expect_status(browser.get("/birds/nosuch"), 404)
        expect_status(browser.get("/-/static/app.css"))


@step
def queries(site: Site) -> None:
    with site.client() as program:
        query = {"sql": "select count(*) as n from birds", "_shape": "array"}
        expect(expect_status(program.get("/birds.json", params=query)).json(), [{"n": ROWS}], "the count")
        broken = {"sql": "select nosuch from birds", "_shape": "array"}
        expect_status(program.get("/birds.json", params=broken), 400)
        rows = expect_status(program.get("/birds/birds.json?_shape=array&_size=5")).json()
        expect([row["name"] for row in rows], [f"bird {row}" for row in range(5)], "the rows")


@step
def csv_stream(site: Site) -> None:
    lines = expect_status(site.get("/birds/birds.csv?_stream=on&_size=max")).text.splitlines()
    expect(len(lines), ROWS + 1, "the number of lines")
    expect(lines[-1], f"{ROWS},bird {ROWS - 1}", "the last line")
