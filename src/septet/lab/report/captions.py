"""The words around the pictures: what a reader must know to judge them."""

from __future__ import annotations

import re

from septet.lab.results import Results

MODE_WORDS = {
    "close": "a new connection for every request",
    "http10": "a new HTTP/1.0 connection for every request",
    "keep-alive": "connections kept alive",
}
TRADE_MARKS = re.compile(r"\((R|TM)\)")


def title(results: Results) -> str:
    """Of the page."""
    experiment = results["experiment"]
    contenders = [*experiment["models"], *(other["name"] for other in experiment["others"])]
    if len(contenders) == 1:
        return f"{experiment['app']} under {contenders[0]}"
    what = "servers" if experiment["others"] else "process models"
    return f"{experiment['app']} under {len(contenders)} {what}"


def caption(results: Results) -> list[str]:
    """What was measured, and on what."""
    experiment, machine = results["experiment"], results["machine"]
    repeats = experiment["repeats"]
    runs = f"median of {repeats} runs" if repeats > 1 else "one run"
    server, client = experiment["pinned"]
    shared = f"server on {len(server)}, users on {len(client)} of them" if client else "shared with the load generator"
    if experiment.get("cluster"):
        shared = f"users on {len(results.get('workers', {}))} workers of a cluster"
    lines = [
        f"GET {experiment['path']} of {experiment['app']}; {MODE_WORDS[experiment['mode']]}; "
        f"{runs} of {experiment['duration_s']:g} s for each point",
        f"{TRADE_MARKS.sub('', machine['cpu'])}, {machine['cpus_usable']} CPUs ({shared}); "
        f"Linux {machine['kernel']}; Python {machine['python'].split()[0]}; {results['started'][:10]}",
    ]
    if experiment["profile"] == "seed":
        lines.append("faint: what the seed measured in 2019, with servers in C on another machine")
    return lines
