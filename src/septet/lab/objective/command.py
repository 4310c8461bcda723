"""Carries out `septet load --slo`: compares a given rate with an objective, or finds the highest rate that holds it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

import septet
from septet.errors import Failed
from septet.lab import machine, output, tables
from septet.lab.load import Plan
from septet.lab.objective import told
from septet.lab.objective.gauge import Carry, Gauge, Gauger
from septet.lab.objective.objective import Objective
from septet.lab.objective.search import Outcome, Search, Votes

MISSED = 3
"""The exit status if the objective is missed at the given rate, or at every rate."""
SATURATION_S = 1.0
FIRST_SHARE = 0.7
"""The search begins at this share of the rate that a closed loop reaches, in which each connection sends the next
request after its answer.
"""
CURVE_SHARES = (0.25, 0.5, 0.75)
"""At the end of a search for the highest rate that meets the objective, one more run is made at each of these shares of
that rate, unless a rate so low was tried already. The picture shows these runs.
"""
PICTURE, VALUES, ALL = "latency-over-rate.svg", "latency-over-rate.csv", "capacity.json"

Say = Callable[[str], None]


def hold(
    gauger: Gauger, objective: Objective, rate: float, say: Say, as_json: bool, shown: list[dict[str, Any]]
) -> int:
    """Run the load generator (`gauger` does that) at one rate, once or again, until it is decided whether the server
    meets the objective there, and print the figures. Returns the exit status: 0 or MISSED.

    A run that misses the objective is repeated up to twice, not counting runs that other programs disturbed. `shown`
    has the figures of all runs so far, and those of the last one are printed; `say` prints a line of progress. Raises
    Failed when the load generator, not the server, was the limit.
    """
    search, gauges = Search(rate, floor=rate), list[Gauge]()
    while not gauges or search.votes(rate).is_open:
        gauges.append(gauger.gauge(rate))
        search.record(rate, gauges[-1].outcome)
        say(told.line(gauges[-1]))
    votes = search.votes(rate)
    values = {**told.as_values(objective, gauges), "held": votes.is_held}
    click.echo(json.dumps({**shown[-1], "slo": values}) if as_json else tables.load_figures(shown[-1]))
    for sentence in [*told.thin(objective, gauges), *told.machine(gauges)]:
        say(sentence)
    return _status(votes, objective, rate, gauges, say)


def _status(votes: Votes, objective: Objective, rate: float, gauges: list[Gauge], say: Say) -> int:
    if votes.is_held:
        say(f"held: {objective.text} at {rate:,.6g} requests/s")
        return 0
    if votes.limited > votes.missed:
        why = next(gauge.reason for gauge in reversed(gauges) if gauge.outcome is Outcome.LIMITED)
        raise Failed(f"whether {objective.text} is held at {rate:,.6g} requests/s is not known: {why}")
    last = next(gauge for gauge in reversed(gauges) if gauge.outcome is not Outcome.HELD)
    say(f"missed: {objective.text} at {rate:,.6g} requests/s: {last.reason}")
    return MISSED


def find(gauger: Gauger, plan: Plan, objective: Objective, carry: Carry, say: Say, as_json: bool, out: Path) -> int:
    """Find the highest rate at which the server meets the objective, print it, and draw latency over rate into the
    directory `out`.

    `gauger` runs the load generator at one rate. `carry` runs it once without a rate, to find the rate to begin with.
    `say` prints a line of progress. Returns the exit status: 0, or MISSED if the objective is met at no rate. Raises
    Failed if no request is answered.
    """
    from septet.lab.objective import curve  # here, so that a missing package is found before minutes of measuring

    started = output.now()
    output.make(out)
    search, gauges = Search(_start(plan, carry, say)), list[Gauge]()
    while (rate := search.next_rate()) is not None:
        gauges.append(gauger.gauge(rate))
        search.record(rate, gauges[-1].outcome)
        say(told.line(gauges[-1]))
    found = search.result()
    for rate in _below(found.low, gauges):
        gauges.append(gauger.gauge(rate))
        say(told.line(gauges[-1]))
    verdict = told.verdict(objective, found, gauges)
    notes = [*told.remarks(found, gauges), *told.thin(objective, gauges)]
    values = {
        **_circumstances(plan, started),
        "found": {**asdict(found), "verdict": verdict, "remarks": notes},
        **told.as_values(objective, gauges),
    }
    caption = [f"{plan.url}; {plan.arrivals} arrivals; connections: {plan.mode}", _where(started)]
    hollow = "Hollow: other programs had the CPUs, or the load generator was the limit."
    picture = curve.svg(objective, gauges, verdict, caption, [*notes, hollow])
    _write(out, {PICTURE: picture, VALUES: told.as_csv(gauges), ALL: json.dumps(values, indent=1) + "\n"})
    if as_json:
        click.echo(json.dumps(values))
    else:
        paths = [str(out / name) for name in (PICTURE, VALUES, ALL)]
        click.echo("\n".join([told.table(gauges), "", verdict, *notes, "", *paths]))
    return 0 if found.low else MISSED


def _below(low: float, gauges: list[Gauge]) -> list[float]:
    """Return up to three rates lower than all that were tried. Runs at these rates give the beginning of the curve in
    the picture of latency over rate. `low` is the highest rate at which the objective was met.
    """
    rates = [round(low * share, 1) for share in CURVE_SHARES]
    return [rate for rate in rates if 1.0 <= rate < min(gauge.rate for gauge in gauges) / 1.1]


def _circumstances(plan: Plan, started: str) -> dict[str, Any]:
    return {
        "septet": septet.__version__,
        "started": started,
        "command": ["septet", *sys.argv[1:]],
        "machine": machine.describe(),
        "plan": plan.values(),
    }


def _start(plan: Plan, carry: Carry, say: Say) -> float:
    """Return the rate at which the search begins. A short run without a rate (`carry`), in which each user sends its
    next request after the answer to the last one, gives the rate that the server reaches; FIRST_SHARE of that is
    returned.
    """
    closed = replace(plan, rate=None, arrivals="uniform", ramp_s=0.0, duration_s=SATURATION_S)
    figures = carry(closed)
    if not figures["answers"]:
        raise Failed(tables.no_answer(plan.url, figures))
    most = float(figures["requests_per_s"])
    say(f"{plan.users:,} users who each send after the answer get {most:,.0f} requests/s")
    return max(1.0, round(most * FIRST_SHARE, 1))


def _where(started: str) -> str:
    described = machine.describe()
    python = described["python"].split()[0]
    cpus = f"{described['cpu']}, {described['cpus_usable']} CPUs"
    return f"{cpus}; Linux {described['kernel']}; Python {python}; {started[:10]}"


def _write(out: Path, files: dict[str, str]) -> None:
    try:
        for name, text in files.items():
            (out / name).write_text(text)
    except OSError as error:
        raise output.unwritable(out, error) from None
