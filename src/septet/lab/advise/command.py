"""The verb `advise` of the command line."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from septet.errors import Failed, UsageError
from septet.lab import arguments, interrupts, output
from septet.lab.advise import advice_text, extrapolation
from septet.lab.advise.advice import Advice, decide, service
from septet.lab.advise.advice_file import Evidence
from septet.lab.advise.candidates import Search, Situation
from septet.lab.advise.machine_limits import limits
from septet.lab.advise.measure import Bench, is_asynchronous
from septet.lab.advise.search_run import Course
from septet.lab.applications import application
from septet.lab.arguments import COUNT, DIRECTORY, FILE, POSITIVE
from septet.lab.experiment import Experiment
from septet.lab.known_models import choose_models, model_names
from septet.lab.pinning import pinning

if TYPE_CHECKING:
    from septet.lab.advise.progress_display import Told

FIRST = "epoll"  # with which the application is looked at, whether it may be advised or not
START_TIMEOUT_S = 30.0
SEARCHED = (*arguments.OURS, "workers", "threads")
BUDGET_MIN = 3.0  # minutes
LEFT_OUT = frozenset({"iterative", "forking", "poll"})  # unless named: others do the same better
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s)")


@dataclass(frozen=True, slots=True)
class Asked:
    """The question: a p99 within so many seconds, in so much time; and the rate in requests/s to plan for, if any."""

    p99_s: float
    budget_s: float
    plan: float | None


@click.command(
    epilog="""\b
Examples:
  septet advise shop.web:app --p99 50ms
  septet advise shop.web:app --p99 200ms --path /products --models epoll,prethreaded,preforked
  septet advise shop.web:app --p99 50ms --scenario shop.toml --budget 10
  septet advise wait --p99 50ms --plan 100000rps

Small applications to try it on: hello, cpu, wait, stream (each also as hello-asgi ...).

Every step is told with its reason. What was measured is kept in advice.json, run by run. The exit status is 1 when no
model holds the target.""",
)
@click.argument("app", required=False)
@click.option("--p99", required=True, metavar="TIME", help="99 % of the answers shall come within it: 50ms, 0.2s.")
@click.option("--models", metavar="A,B,...", help="Only these.  [default: all but iterative, forking and poll]")
@click.option("--path", help="What the users ask for.  [default: / of APP]")
@click.option("--scenario", type=FILE, help="Several targets with weights, in TOML; see `septet load`.")
@click.option("--users", type=COUNT, help="Connections at the same time.  [default: 100, or as many as needed]")
@click.option("--keep-alive", "mode", flag_value="keep-alive", default=True, help="Users keep connections.  [default]")
@click.option("--close", "mode", flag_value="close", help="A new connection for every request.")
@click.option("--budget", type=POSITIVE, default=BUDGET_MIN, show_default=True, help="Minutes it may take.")
@click.option("--plan", metavar="RATE", help="Extend the result to 100000rps: how many cores and machines?")
@click.option("--serve-option", "serve_options", multiple=True, metavar="'--X Y'", help="Handed to `septet serve`.")
@click.option("--json", "as_json", is_flag=True, help="Print the advice as JSON.")
@click.option("--out", type=DIRECTORY, help="Directory for what was measured.  [default: advise-DATE-TIME]")
def advise(app: str | None, p99: str, as_json: bool, plan: str | None, budget: float, **options: Any) -> int:
    """Find out which model, and how many workers and threads, for a latency target.

    Looks at APP (MODULE:ATTRIBUTE) alone, then searches: for each candidate the highest rate of requests of which 99 %
    are answered in time. Requests come at fixed instants, so that a server that stalls cannot hide it.
    """
    from septet.lab.advise.progress_display import display  # now: what is missing is missed before anything is measured

    asked = Asked(_time(p99), budget * 60, extrapolation.parse_rate(plan) if plan else None)
    experiment = _experiment(app, options)
    evidence = Evidence(experiment, ["septet", *sys.argv[1:]], asdict(asked))
    interrupts.term_as_interrupt()
    with evidence.kept():
        with display(asked.budget_s) as told, Bench(experiment, asked.p99_s, evidence.runs) as bench:
            course = Course(bench, asked.p99_s, asked.budget_s, told)
            search = Search(_situation(experiment, course, told, options))
            if search.situation.nature.wall_s < asked.p99_s:  # else no search can help
                course.run(search, lambda: evidence.write(advice_text.values(None, search, experiment)))
        return _tell(search, experiment, asked, evidence, as_json)


def _tell(search: Search, experiment: Experiment, asked: Asked, evidence: Evidence, as_json: bool) -> int:
    """Write down and print what was found. Raises Failed when nothing held the target."""
    advice = decide(search, asked.p99_s)
    rows = _rows(advice, search, asked.plan, asked.p99_s) if advice is not None and asked.plan else []
    values = {**advice_text.values(advice, search, experiment), "plan": [asdict(row) for row in rows]}
    evidence.write(values, finished=True)
    if as_json:
        click.echo(json.dumps(values))
    elif advice is not None:
        lines = advice_text.answer(advice, search, experiment)
        if asked.plan:
            lines += ["", *advice_text.extrapolation(asked.plan, rows, advice, search.situation.cpus)]
        click.echo("\n" + "\n".join([*lines, "", str(evidence.path)]))
    if advice is None:
        raise Failed(f"{advice_text.not_held(search, asked.p99_s)}; what was measured is in {evidence.path}")
    return 0


def _rows(advice: Advice, search: Search, rate: float, target_s: float) -> list[extrapolation.Row]:
    one = service(advice.chosen, search)
    return extrapolation.plan(rate, one, target_s, advice.law_of_workers, advice.chosen.memory_bytes)


def _situation(experiment: Experiment, course: Course, told: Told, options: dict[str, Any]) -> Situation:
    """What the search begins with. Raises Failed when the application cannot be measured."""
    usable = limits(experiment.pinned)
    for note in usable.notes:
        told.say(note)
    try:
        nature = course.look_at(FIRST, is_asynchronous(experiment, FIRST))
    except Failed as failure:
        raise Failed(f"{experiment.app} cannot be measured: {failure}") from None
    return Situation(
        nature=nature,
        cpus=usable.cpus,
        users=options["users"] or nature.users(usable.cpus),
        memory_bytes=usable.memory_bytes,
        models=experiment.models,
        named=options["models"] is not None,
    )


def _experiment(name: str | None, options: dict[str, Any]) -> Experiment:
    app = application(name)
    models = choose_models(options["models"], model_names())
    if options["models"] is None:
        models = tuple(model for model in models if model not in LEFT_OUT)
    return Experiment(
        out=options["out"] or output.dated("advise"),
        models=models,
        app=app.name,
        app_words=app.words,
        path=arguments.path(options["path"], app.path),
        mode=options["mode"],
        start_timeout_s=START_TIMEOUT_S,
        scenario=arguments.scenario(options["scenario"]),
        serve_options=arguments.serve_options(options["serve_options"], SEARCHED),
        pinned=pinning(),
    )


def _time(text: str) -> float:
    match = DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * (0.001 if match[2] == "ms" else 1.0) if match else 0.0
    if not seconds:
        raise UsageError(f"--p99: {text!r} is not a time, such as 50ms or 0.2s")
    return seconds
