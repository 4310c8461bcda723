"""report.html: everything in one file that needs nothing from anywhere.

The pictures are in it as SVG, so that it can be read, mailed and printed without a script. Beside them, packed, is
Vega and what it needs to draw them again with hover and zoom: 400 KB, which a browser unpacks when somebody first
points at a picture, and not before.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from septet.lab.remarks import remarks
from septet.lab.report import drawing
from septet.lab.report.captions import caption, title
from septet.lab.report.drawing import NARROW, WIDE, Specification, inline_svg
from septet.lab.report.findings import findings
from septet.lab.report.pictures import Section, Table
from septet.lab.report.traces import Traces
from septet.lab.results import Results, run_of
from septet.lab.verdicts import DOUBT_MARK

_HERE = Path(__file__).parent
_VEGA = "window.vegaEmbed = vegaEmbed;"  # all that the page's script calls


Drawn = dict[str, dict[str, Specification]]
"""What Vega draws, by picture and form."""


@dataclass(frozen=True, slots=True)
class _Pictured:
    """A picture in both forms, for the template."""

    name: str
    short: str
    shows: str
    wide: Markup
    narrow: Markup


def page(results: Results, sections: Sequence[Section], drawn: Drawn, traces: Traces | None) -> str:
    """The page as HTML, of sections whose pictures are `drawn`."""
    script = _read("page.js")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_read("page.html.jinja")).render(
        title=title(results),
        caption=caption(results),
        findings=findings(results),
        remarks=remarks(results, f"{DOUBT_MARK} or hollow"),
        sections=[_for_template(section, drawn) for section in sections],
        traces=traces,
        machine=_machine(results),
        packages=", ".join(f"{name} {version}" for name, version in results["machine"].get("packages", {}).items()),
        command=shlex.join(results["command"]),
        **_commands(results),
        style=Markup(_style()),
        script=Markup(script),
        script_hash=Markup(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),
        vega=Markup(_packed_vega()),
        specifications=Markup(_packed(json.dumps(drawn, separators=(",", ":")))),
    )


def _read(name: str) -> str:
    return (_HERE / name).read_text()


def _style() -> str:
    dark = drawing.dark_rules("figure.chart")
    return f"{_read('page.css')}@media (prefers-color-scheme: dark) {{ @media screen {{ {dark} }} }}"


def _for_template(section: Section, drawn: Drawn) -> dict[str, Any]:
    return {
        "title": section.title,
        "remark": section.remark,
        "table": section.table,
        "pictures": [
            _Pictured(
                each.name, each.short, each.shows, *(_svg(each.name, form, drawn) for form in (WIDE.name, NARROW.name))
            )
            for each in section.pictures
        ],
    }


def _svg(name: str, form: str, drawn: Drawn) -> Markup:
    return Markup(inline_svg(drawing.still(drawn[name][form]), f"{name}-{form}-"))


def specifications(sections: Sequence[Section]) -> Drawn:
    """All pictures of the sections in both forms."""
    return {
        picture.name: {form.name: picture.draw(form) for form in (WIDE, NARROW)}
        for section in sections
        for picture in section.pictures
    }


@functools.cache
def _packed_vega() -> str:
    return _packed(vl_convert.javascript_bundle(_VEGA))


def _packed(text: str) -> str:
    """For a page: a third larger than what gzip makes of it. The same text is always packed the same."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _machine(results: Results) -> Table:
    described = results["machine"]
    lines = [["what", "which"], ["septet", results["septet"]], ["measured", _when(results)]]
    for name, value in described.items():
        if name != "packages" and value not in (None, {}, ""):
            lines.append([name.replace("_", " "), _value(name, value)])
    loads = [run["load_average_before"][0] for run in results["runs"] if run.get("load_average_before")]
    if loads:
        lines.append(["load average before runs", f"{min(loads):.2f} to {max(loads):.2f}"])
    return lines


def _when(results: Results) -> str:
    moments: Iterable[str] = [results["started"], *results["resumed"], results["finished"] or "interrupted"]
    return ", ".join(moments)


def _value(name: str, value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} = {each}" for key, each in value.items() if each is not None)
    if name.endswith("_bytes") and isinstance(value, int):
        return f"{value / 2**30:,.1f} GiB"
    return str(value)


def _commands(results: Results) -> dict[str, Any]:
    """For each line of the charts the commands of one run, at the greatest number of users that has any."""
    told = [run for run in results["runs"] if run.get("command")]
    if not told:
        return {"commands": [], "commands_at": "no run"}
    users = max(run["users"] for run in told)
    found: dict[str, str] = {}
    for run in told:
        if run["users"] == users:
            variables = [f"{name}={shlex.quote(str(value))}" for name, value in (run.get("environment") or {}).items()]
            server = " ".join([*variables, shlex.join(run["command"])])
            load = run.get("load_command")
            found.setdefault(run_of(run).cell.label, "\n".join([server, shlex.join(load)] if load else [server]))
    return {"commands": list(found.items()), "commands_at": f"{users:,} users"}
