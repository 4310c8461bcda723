"""Makes report.html: one file that loads no other.

The pictures are in it as SVG, so that it can be read, mailed and printed without a script. It also contains Vega and
the data with which Vega draws them again with tooltips and zoom: 400 KB, compressed, which a browser unpacks only when
a reader first points at a picture. The pictures of a trace are shown, too, when there is one beside the results.
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

from septet.lab.beside import REMARK, Beside, beside
from septet.lab.caveats import caveats, enumerated, unrecorded
from septet.lab.known_models import descriptions
from septet.lab.pool import LOOP_MODELS
from septet.lab.report import drawing
from septet.lab.report.about import captions, cpus_line, heading
from septet.lab.report.drawing import NARROW, WIDE, Section, Specification, Table, inline_svg
from septet.lab.report.findings import findings, focus
from septet.lab.report.glance import Page
from septet.lab.results import Results, run_of
from septet.lab.trace import captions as trace_captions
from septet.lab.trace.captions import DIRECTORY, FIGURES, OVERVIEW, ZOOM
from septet.lab.verdicts import DOUBT_MARK

_HERE = Path(__file__).parent
_VEGA = "window.vegaEmbed = vegaEmbed;"
"""JavaScript that makes the function which draws pictures, `vegaEmbed`, available to the script of report.html."""


Drawn = dict[str, dict[str, Specification]]
"""The drawn pictures, as data of Vega-Lite: for each name of a picture a mapping from the name of the form (size),
"wide" or "narrow", to the picture.
"""


@dataclass(frozen=True, slots=True)
class _Pictured:
    """A picture as the template of report.html takes it: as SVG in both sizes, wide and narrow, with its texts."""

    name: str
    short: str
    shows: str
    wide: Markup
    narrow: Markup
    csv: str
    """The figures that the picture shows, as CSV in a data: URL."""


def page(
    pages: Sequence[Page], sections: Sequence[Section], drawn: Drawn, traces: Traces | None, users: int | None = None
) -> str:
    """Return report.html as text. `pages` are the pages of an application that were measured, at least one, with their
    results.

    `drawn` are the pictures of the sections, `traces` what `septet trace` recorded (None: nothing). `users` is the
    number of users at which servers or process models are compared side by side (None: that of `findings.focus`).
    """
    results = pages[0].results
    script, models = _read("page.js"), _models(pages)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_read("page.html.jinja")).render(
        title=title(results) if len(pages) == 1 else _joint_title(pages),
        cpus=list(dict.fromkeys(line for each in pages if (line := cpus_line(each.results)) is not None)),
        caption=captions((each.results, each.cells) for each in pages),
        models=models,
        pooled=enumerated([model for model, _ in models if model in LOOP_MODELS]),
        said=[(heading(each.title, each.results), _said(each)) for each in pages],
        beside=[(heading(each.title, each.results), table) for each in pages for table in _beside(each, users)],
        beside_remark=REMARK,
        remarks=[each for page in pages for each in caveats(page.results, page.cells, f"{DOUBT_MARK} or hollow")],
        sections=[_for_template(section, drawn) for section in sections],
        traces=traces,
        machine=_machine(results),
        packages=", ".join(f"{name} {version}" for name, version in results["machine"].get("packages", {}).items()),
        command=shlex.join(results["command"]),
        commands=[_commands(each.results) | {"title": each.title} for each in pages],
        style=Markup(_style()),
        script=Markup(script),
        script_hash=Markup(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),
        vega=Markup(_packed_vega()),
        specifications=Markup(_packed(json.dumps(drawn, separators=(",", ":")))),
    )


def _said(page: Page) -> list[str]:
    """Return the sentences about one measured page, among them why there is no picture of where the time goes."""
    found = page.results.get("where")
    missing = unrecorded(found) if found and not found["cells"] else []
    return [*findings(page.results, page.cells), *missing]


def _beside(page: Page, users: int | None) -> list[Beside]:
    return beside(page.results, page.cells, users or focus(page.cells))


def _models(pages: Sequence[Page]) -> list[tuple[str, str]]:
    """Return the name of each process model of the report, with a sentence that says how it serves."""
    models = dict.fromkeys(model for each in pages for model in each.results["experiment"]["models"])
    told = descriptions()
    return [(model, told[model]) for model in models if model in told]


def _read(name: str) -> str:
    return (_HERE / name).read_text()


def _style() -> str:
    dark = drawing.dark_rules("figure.chart")
    return f"{_read('page.css')}@media (prefers-color-scheme: dark) {{ @media screen {{ {dark} }} }}"


def _for_template(section: Section, drawn: Drawn) -> dict[str, Any]:
    return {
        "title": section.title,
        "about": section.about,
        "remark": section.remark,
        "table": section.table,
        "pictures": [
            _Pictured(
                each.name,
                each.short,
                each.shows,
                _svg(each.name, WIDE.name, drawn),
                _svg(each.name, NARROW.name, drawn),
                _data_url("text/csv;charset=utf-8", drawing.as_csv(each.data).encode()),
            )
            for each in section.pictures
        ],
    }


def _svg(name: str, form: str, drawn: Drawn) -> Markup:
    return Markup(inline_svg(drawing.still(drawn[name][form]), f"{name}-{form}-"))


def specifications(sections: Sequence[Section]) -> Drawn:
    """Draw all pictures of the sections, each in two sizes: wide, and narrow for phones."""
    return {
        picture.name: {form.name: picture.draw(form) for form in (WIDE, NARROW)}
        for section in sections
        for picture in section.pictures
    }


@functools.cache
def _packed_vega() -> str:
    return _packed(vl_convert.javascript_bundle(_VEGA))


def _packed(text: str) -> str:
    """Return a text compressed with gzip, in base64; equal texts give equal results."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _machine(results: Results) -> Table:
    described = results["machine"]
    lines = [["what", "which"], ["septet", results["septet"]], ["measured", _when(results)]]
    for name, value in described.items():
        if name != "packages" and value not in (None, {}, ""):
            lines.append([name.replace("_", " "), _value(name, value)])
    pythons = results["experiment"].get("pythons", ())
    lines += [[f"python={each['name']}", f"{each['version']} ({each['executable']})"] for each in pythons]
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
    """Return the commands that the page shows: for each contender (server or process model) those that started its
    server and loaded it in one run. That run is at the largest number of users for which commands were recorded.
    """
    told = [run for run in results["runs"] if run.get("command")]
    if not told:
        return {"lines": [], "at": "no run"}
    users = max(run["users"] for run in told)
    found: dict[str, str] = {}
    for run in told:
        if run["users"] == users:
            variables = [f"{name}={shlex.quote(str(value))}" for name, value in (run.get("environment") or {}).items()]
            server = " ".join([*variables, shlex.join(run["command"])])
            load = run.get("load_command")
            found.setdefault(run_of(run).cell.label, "\n".join([server, shlex.join(load)] if load else [server]))
    return {"lines": list(found.items()), "at": f"{users:,} users"}


def title(results: Results) -> str:
    """Return the title of report.html: the application, and the servers or process models that were compared."""
    experiment = results["experiment"]
    contenders = [*experiment["models"], *(other["name"] for other in experiment["others"])]
    pythons = [each["name"] for each in experiment.get("pythons", ())]
    interpreters = f", Python {enumerated(pythons)}" if len(pythons) > 1 else ""
    if len(contenders) == 1:
        return f"{experiment['app']} under {contenders[0]}{interpreters}"
    what = "servers" if experiment["others"] else "process models"
    return f"{experiment['app']} under {len(contenders)} {what}{interpreters}"


def _joint_title(pages: Sequence[Page]) -> str:
    models = dict.fromkeys(model for each in pages for model in each.results["experiment"]["models"])
    first, *others = (each.title for each in pages)
    titles = enumerated([first, *(title[:1].lower() + title[1:] for title in others)])
    return f"{titles}, under {len(models)} process models"


PICTURES = {ZOOM: "some milliseconds, as they were", OVERVIEW: "all that was recorded, in columns"}


@dataclass(frozen=True, slots=True)
class TracePicture:
    """A picture of a trace in report.html: its description, and a data: URL with the image. It is shown as an image
    because an image cannot run scripts in the page.
    """

    shows: str
    source: str


@dataclass(frozen=True, slots=True)
class Traces:
    """The part of report.html that shows what `septet trace` has recorded."""

    pictures: Sequence[TracePicture]
    remarks: Sequence[str]
    table: Table


def read_traces(directory: Path) -> Traces | None:
    """Read what `septet trace` recorded from the directory trace/ in `directory`. None if that does not exist, or
    cannot be read.
    """
    place = directory / DIRECTORY
    try:
        told = json.loads((place / FIGURES).read_text())
        pictures = [
            TracePicture(f"Threads and users as rows over time: {words}", _source(place / f"{name}.svg"))
            for name, words in PICTURES.items()
        ]
        return Traces(pictures, _remarks(told), _table(told))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _source(path: Path) -> str:
    return _data_url("image/svg+xml", path.read_bytes())


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _remarks(told: dict[str, Any]) -> list[str]:
    """Return sentences that say how the trace was recorded (for each process model, if they differ), and how many
    records of events were lost. `told` is the content of trace.json.
    """
    said: dict[str, list[str]] = {}
    for each in told["models"]:
        said.setdefault(trace_captions.WAYS[each["way"]], []).append(each["model"])
    ways = [f"{', '.join(models)}: {way}." if len(said) > 1 else f"{way}." for way, models in said.items()]
    lost = sum(each["lost"] for each in told["models"])
    return [
        "Recorded separately, after all figures were taken: recording takes CPU time.",
        *ways,
        *([f"{lost:,} records were lost."] if lost else []),
    ]


def _table(told: dict[str, Any]) -> Table:
    """Return the table of the shares of time that threads spent in each state, for all process models. It has a column
    for every state in which threads of any model were. `told` is the content of trace.json.
    """
    shares = [share for each in told["models"] for share in each["shares"]]
    heads = list(dict.fromkeys(head for share in shares for head in share))
    return [heads, *([share.get(head, "") for head in heads] for share in shares)]
