"""Says in lines what was measured: on which page of the application, with which connections, and on which machine. They
stand above the figures, in report.html, in saved pictures and at the terminal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from septet.lab import profiles
from septet.lab.caveats import enumerated
from septet.lab.metrics import CPU
from septet.lab.results import Results, connections, run_of
from septet.lab.summary import Summary

Measured = tuple[Results, Sequence[Summary]]
"""The results of one measured page of the application, and the summaries of its runs."""

TRADE_MARKS = re.compile(r"\((R|TM)\)")


def heading(title: str, results: Results) -> str:
    """Return what is said above each picture and table of a page in a report about several: the page's title and its
    connections. `title` is empty in a report about one page, and so is the text then.
    """
    return title and f"{title}; {connections(results)}"


def captions(pages: Iterable[Measured]) -> list[str]:
    """Return the lines below the title of report.html or of a picture: a line for each of `pages`, then what they
    share. Equal lines appear once.
    """
    told = list(pages)
    own = [page_line(results, cells) for results, cells in told]
    return list(dict.fromkeys([*own, *(line for results, _ in told for line in _shared(results))]))


def page_line(results: Results, cells: Sequence[Summary]) -> str:
    """Return a line that says what was asked for, what it does and costs, with which connections, and of how many runs
    each figure is the median.
    """
    experiment = results["experiment"]
    asked = f"GET {experiment['path']} of {experiment['app']}"
    preset = profiles.profile(experiment["profile"]) if experiment["profile"] else None
    if preset is not None and preset.does:
        asked = f"{preset.title} ({asked}): {preset.does}"
    parts = [asked, *_cost(cells), connections(results), f"{_runs(results)} of {_windows(results)}"]
    return "; ".join(parts)


def _cost(cells: Sequence[Summary]) -> list[str]:
    """Return text with the least CPU time of a request in any cell, in a list; an empty list if that is not known. It
    tells a heavy page from a light one; what is above the least is the cost of a model.
    """
    known = [found.median for cell in cells if (found := CPU.estimate(cell.figures)) is not None]
    if not known:
        return []
    return [f"a request takes {min(known) / 1000:.2g} ms of CPU time or more, the server's work included"]


def cpus_line(results: Results) -> str | None:
    """Return a sentence that says how many of the machine's CPUs the server had, and what one CPU cannot show. None if
    it had all CPUs, and several, or if that is not known.
    """
    usable = results["machine"].get("cpus_usable")
    had = len(results["experiment"]["pinned"][0]) or usable
    whole = max(results["machine"].get("cpus") or 0, usable or 0)
    if not had or not whole or had == whole > 1:
        return None
    said = f"The server had {had} of the machine's {whole} CPUs" if whole > 1 else "The machine has one CPU"
    return f"{said}: what a model gains from several (--workers) is not compared here." if had == 1 else f"{said}."


def _shared(results: Results) -> list[str]:
    experiment, machine = results["experiment"], results["machine"]
    server, client = experiment["pinned"]
    placed = f"server on {len(server)}, users on {len(client)} of them" if client else "shared with the load generator"
    if experiment.get("cluster"):
        placed = f"users on {len(results.get('workers', {}))} workers of a cluster"
    pythons = [each["name"] for each in experiment.get("pythons", ())] or [machine["python"].split()[0]]
    lines = [
        f"{TRADE_MARKS.sub('', machine['cpu'])}, {machine['cpus_usable']} CPUs ({placed}); "
        f"Linux {machine['kernel']}; Python {enumerated(pythons)}; {results['started'][:10]}",
    ]
    if experiment.get("pool_told"):
        lines.append(experiment["pool_told"])
    if experiment["profile"] == "seed":
        lines.append("faint: what the seed measured in 2019, with servers in C on another machine")
    return lines


def _windows(results: Results) -> str:
    """Return text that says how long the runs measure."""
    experiment = results["experiment"]
    short, above = dict(experiment.get("short", ())), experiment.get("users_per_window")
    but = []
    if short:
        but.append(
            f"{min(short.values()):g} s of fast servers at {enumerated([f'{users:,}' for users in short])} users"
        )
    if above and max(experiment["users"]) > above:
        but.append(f"longer above {above:,} users")
    return f"{experiment['duration_s']:g} s" + (f" ({'; '.join(but)})" if but else "")


def _runs(results: Results) -> str:
    """Return text that says of how many runs each figure is the median."""
    most = least = results["experiment"]["repeats"]
    if results["experiment"].get("for_s"):
        counts = Counter(run_of(run).cell for run in results["runs"]).values()
        most, least = max(counts, default=1), min(counts, default=1)
    if most == 1:
        return "one run"
    return f"median of {most} runs" if most == least else f"median of {least} to {most} runs"
