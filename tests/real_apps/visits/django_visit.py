"""A browser at the shop and at its administration, and a program at its JSON."""

import os
import subprocess
import sys
from pathlib import Path

import httpx

from real_apps.sizes import ROWS
from real_apps.visit import (
    NAMES,
    Client,
    Site,
    expect,
    expect_own_lines,
    expect_status,
    find,
    read_slowly_at_once,
    step,
)
from support.journal import VARIABLE

PASSWORD = "for tests only"
PATH = os.pathsep.join(sys.path)


def prepare(directory: Path) -> None:
    """A migrated database with a superuser and some thousand rows."""
    settings = {"DJANGO_SETTINGS_MODULE": "real_apps.sites.shop.settings", VARIABLE: str(directory), "PYTHONPATH": PATH}
    command = [sys.executable, "-m", "real_apps.sites.shop.make", PASSWORD]
    subprocess.run(command, env=os.environ | settings, check=True)


@step
def login_to_the_administration(site: Site) -> None:
    with site.client() as browser:
        expect_status(browser.get("/admin/"), 302)
        expect_status(browser.post("/admin/login/", data={"username": "admin", "password": PASSWORD}), 403)
        refused = _log_in(browser, "wrong")
        assert "Please enter the correct username" in expect_status(refused).text
        expect(expect_status(_log_in(browser, PASSWORD), 302).headers["location"], "/admin/", "where login leads")
        assert "Site administration" in expect_status(browser.get("/admin/")).text


@step
def add_in_the_administration(site: Site) -> None:
    with site.client() as browser:
        expect_status(_log_in(browser, PASSWORD), 302)
        form = {
            "name": "a lamp",
            "price": "17",
            "description": "",
            "csrfmiddlewaretoken": _token(browser, "/admin/shop/item/add/"),
        }
        expect_status(browser.post("/admin/shop/item/add/", data=form), 302)
        assert "a lamp" in expect_status(browser.get("/admin/shop/item/?q=")).text
        expect(expect_status(browser.get("/items/a%20lamp")).json(), [["a lamp", 17]], "what was added")
        form = {"csrfmiddlewaretoken": _token(browser, "/admin/shop/item/add/")}
        expect_status(browser.post("/admin/logout/", data=form))


def _log_in(browser: Client, password: str) -> httpx.Response:
    form = {"username": "admin", "password": password, "next": "/admin/"}
    form["csrfmiddlewaretoken"] = _token(browser, "/admin/login/?next=/admin/")
    return browser.post("/admin/login/?next=/admin/", data=form)


def _token(browser: Client, target: str) -> str:
    return find(r'name="csrfmiddlewaretoken" value="([^"]+)"', expect_status(browser.get(target)).text)


@step
def write_and_read_through_the_orm(site: Site) -> None:
    with site.client() as program:
        for number in range(5):
            item = {"name": f"Stück {number}", "price": number}
            expect(expect_status(program.post("/items", json=item), 201).json(), item, "what was written")
            answer = expect_status(program.get(f"/items/Stück {number}")).json()
            expect(answer, [[f"Stück {number}", number]], "what was read")
        expect_status(program.get("/items"), 405)
        expect_status(program.get("/nosuch"), 404)


@step
def async_view(site: Site) -> None:
    expect(expect_status(site.get("/async/item 7")).json(), {"name": "item 7", "price": 7}, "the item")


@step
def async_to_sync(site: Site) -> None:
    expect(expect_status(site.get("/bridged/item 7")).json(), {"name": "item 7", "price": 7}, "the item")


@step
def streaming_export(site: Site) -> None:
    expect_own_lines([expect_status(site.get("/export")).content], ["row"], ROWS)


@step
def exports_at_once(site: Site) -> None:
    bodies = read_slowly_at_once(site, [f"/export?who={name}" for name in NAMES])
    expect_own_lines(bodies, NAMES, ROWS)
