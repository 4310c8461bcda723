"""What Dash's renderer asks for in a browser: the page, a script, the layout, and callbacks."""

from pathlib import Path

from real_apps.visit import Site, expect, expect_status, find, step


def prepare(directory: Path) -> None:
    pass


@step
def page(site: Site) -> None:
    with site.client() as browser:
        html = expect_status(browser.get("/")).text
        script = expect_status(browser.get(find(r'src="(/_dash-component-suites/[^"]+)"', html)))
        assert len(script.content) > 1000
        layout = expect_status(browser.get("/_dash-layout")).json()
        expect(layout["type"], "Div", "the layout's type")
        expect(len(expect_status(browser.get("/_dash-dependencies")).json()), 1, "the number of callbacks")


@step
def callback(site: Site) -> None:
    with site.client() as browser:
        for name in ("you", "Wörld"):
            response = expect_status(browser.post("/_dash-update-component", json=_callback(name)))
            expected = {"greeting": {"children": f"Hello, {name}!"}}
            expect(response.json()["response"], expected, "the callback's answer")


def _callback(name: str) -> dict[str, object]:
    return {
        "output": "greeting.children",
        "outputs": {"id": "greeting", "property": "children"},
        "inputs": [{"id": "name", "property": "value", "value": name}],
        "changedPropIds": ["name.value"],
        "state": [],
    }
