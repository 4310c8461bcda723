"""Makes trace.html: the pictures, the table and notes on the recording, in one file that loads no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture as the text of an SVG, and its description for screen readers."""

    svg: str
    shows: str


# `default-src 'none'`: the browser enforces that the page loads nothing.
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --paper: #fff; --ink: #222; --pale: #666; --grid: #e4e4e4 }
@media (prefers-color-scheme: dark) { :root { --paper: #1e1e1e; --ink: #e8e8e8; --pale: #a9a9a9; --grid: #3a3a3a } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 Roboto, Helvetica, Arial, sans-serif;
       margin: 0 auto; max-width: 1090px; padding: 1rem }
figure { margin: 0 0 2rem; overflow-x: auto }
figure svg { display: block; height: auto; max-width: 100%; min-width: 700px }
.table { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid var(--grid); padding: .25rem .7rem; text-align: right; white-space: nowrap }
th { color: var(--pale); font-weight: normal }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left }
pre { overflow-x: auto; white-space: pre-wrap; color: var(--pale) }
h2 { margin-top: 2.5rem }
</style>
</head>
<body>
<h1>$title</h1>
$figures
<h2>Shares of the time</h2>
<div class="table"><table>$table</table></div>
<h2>How it was recorded</h2>
$notes
<h2>The commands</h2>
<pre>$commands</pre>
</body>
</html>
""")


def page(
    title: str,
    figures: Sequence[Figure],
    table: Sequence[Sequence[str]],
    notes: Sequence[str],
    commands: Sequence[str],
) -> str:
    """Return the page as HTML. `notes`: sentences about the recording. `commands`: the command lines by which the trace
    was made. Everything but the pictures is plain text and is escaped here.
    """
    return _PAGE.substitute(
        title=escape(title),
        figures="\n".join(
            f'<figure role="img" aria-label="{escape(figure.shows)}">{figure.svg}</figure>' for figure in figures
        ),
        table=_table(table),
        notes="\n".join(f"<p>{escape(note)}</p>" for note in notes),
        commands=escape("\n".join(commands)),
    )


def _table(lines: Sequence[Sequence[str]]) -> str:
    heads, *rest = lines
    rows = [_row("th", heads), *(_row("td", line) for line in rest)]
    return "\n".join(rows)


def _row(kind: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"
