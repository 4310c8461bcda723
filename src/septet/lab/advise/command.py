"""The verb `advise` of the command line."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from septet.errors import Failed, UsageError
from septet.lab import arguments, interrupts, output, tls
from septet.lab.advise import advice_text, extrapolation
from septet.lab.advise.advice import Advice, decide, memory_of_cores, service
from septet.lab.advise.advice_file import AdviceFile
from septet.lab.advise.candidates import Search, Situation
from septet.lab.advise.machine_limits import GO_ON, IF_BUSY, await_quiet, machine_limits
from septet.lab.advise.measure import TrialRunner
from septet.lab.advise.search_run import SearchRun
from septet.lab.applications import application
from septet.lab.arguments import COUNT, DIRECTORY, FILE, POSITIVE
from septet.lab.experiment import Experiment
from septet.lab.interface import served
from septet.lab.known_models import choose_models, model_names
from septet.lab.pinning import pinning
from septet.lab.server import LOOPBACK

if TYPE_CHECKING:
    from septet.lab.advise.progress_display import ProgressDisplay

FIRST = "epoll"
"""The model under which the workload profile is measured, even if it may not be advised."""
START_TIMEOUT_S = 30.0
SEARCHED = (*arguments.OURS, "workers", "threads", "loops")
BUDGET_MINUTES = 3.0
QUIET_WAIT_S, QUIET_WAIT_SHARE = 15.0, 0.1
"""Longest time to wait until other programs leave the CPUs alone: in seconds, and as a share of the time for the
search. The shorter one counts.
"""
LEFT_OUT = frozenset({"iterative", "forking", "poll", "interpreters"})
"""Models that are searched only when --models names them: other models do the same better; interpreters is
experimental.
"""
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s)")


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of `septet advise` that are not part of the experiment."""

    p99_s: float
    """The latency target in seconds, which 99 % of the requests must not exceed."""
    budget_s: float
    """Seconds after which the search ends."""
    plan: float | None
    """The requests/s for which machines are planned (--plan); None: none are."""
    users: int | None = None
    """Simultaneous connections; None: as many as the application needs."""
    named: bool = False
    """True if --models named the models, each of which is measured then."""


@click.command(
    epilog="""\b
Examples:
  septet advise shop.web:app --p99 50ms
  septet advise shop.web:app --p99 200ms --path /products --models epoll,prethreaded,preforked
  septet advise shop.web:app --p99 50ms --scenario shop.toml --budget 10
  septet advise wait --p99 50ms --plan 100000rps
  septet advise shop.web:app --p99 50ms --if-busy wait
  septet advise --resume advise-2026-11-23-081500

Small applications to try it on: hello, cpu, wait, stream (each also as hello-asgi ...).

Every step is printed with its reason. All runs are stored in advice.json. The exit status is 1 when no model holds the
target.""",
)
@click.argument("app", required=False)
@click.option("--p99", metavar="TIME", help="Latency target for 99 % of the answers: 50ms, 0.2s.")
@click.option("--models", metavar="A,B,...", help="Only these models.  [default: all but iterative, forking and poll]")
@click.option("--path", help="Path that the users request.  [default: / of APP]")
@click.option("--scenario", type=FILE, help="TOML file of several targets with weights; see `septet load`.")
@click.option("--users", type=COUNT, help="Simultaneous connections.  [default: 100, or as many as needed]")
@click.option("--keep-alive", "mode", flag_value="keep-alive", default=True, help="Users keep connections.  [default]")
@click.option("--close", "mode", flag_value="close", help="A new connection for every request.")
@click.option("--budget", type=POSITIVE, default=BUDGET_MINUTES, show_default=True, help="Minutes for the search.")
@click.option("--plan", metavar="RATE", help="Compute how many cores and machines a rate such as 100000rps takes.")
@click.option("--serve-option", "serve_options", multiple=True, metavar="'--X Y'", help="Options for `septet serve`.")
@click.option("--tls", is_flag=True, help=tls.HELP)
@click.option(
    "--if-busy",
    type=click.Choice(IF_BUSY),
    default=GO_ON,
    show_default=True,
    help="When others use the CPUs: find lower bounds, wait up to an hour, or end with status 1 within a minute.",
)
@click.option(
    "--resume", type=click.Path(path_type=Path), help="Go on with the interrupted search of this advice.json."
)
@click.option("--json", "as_json", is_flag=True, help="Print the advice as JSON.")
@click.option("--out", type=DIRECTORY, help="Directory for advice.json.  [default: advise-DATE-TIME]")
def advise(as_json: bool, if_busy: str, **options: Any) -> int:
    """Find the model, and the numbers of workers and threads, for a latency target.

    Measures one request of APP (MODULE:ATTRIBUTE) alone, then searches: for each candidate the highest rate at which
    99 % of the requests are answered in time. Requests become due at fixed instants, so that a server that stalls
    cannot hide it.
    """
    from septet.lab.advise.progress_display import (
        display,  # here, so that a missing package is found before anything is measured
    )

    advice_file, experiment, asked = _begun(options)
    interrupts.term_as_interrupt()
    known = list(advice_file.runs)
    with advice_file.kept():
        with (
            display(asked.budget_s) as progress,
            TrialRunner(experiment, asked.p99_s, advice_file.runs, known) as runner,
        ):
            search_run = SearchRun(runner, asked.p99_s, asked.budget_s, progress, runner.spent_s)
            search = Search(_situation(experiment, search_run, progress, asked, if_busy))
            if search.situation.profile.wall_s < asked.p99_s:  # else no model can hold the target
                search_run.run(search, lambda: advice_file.write(advice_text.values(None, search, experiment)))
        return _tell(search, experiment, asked, advice_file, as_json)


def _begun(options: dict[str, Any]) -> tuple[AdviceFile, Experiment, Asked]:
    """Return a new search, or the interrupted one that --resume names: its file, its experiment and the other options.
    Raises UsageError and Failed.
    """
    if options["resume"] is not None:
        context = click.get_current_context()
        arguments.check_unchanged(
            context, "--resume continues with the options of the search", ("resume", "as_json", "if_busy")
        )
        advice_file, experiment, values = AdviceFile.interrupted(options["resume"])
        return advice_file, experiment, Asked(**values)
    if options["p99"] is None:
        raise UsageError("--p99 is missing: the latency target for 99 % of the answers, such as 50ms")
    plan = extrapolation.parse_rate(options["plan"]) if options["plan"] else None
    named = options["models"] is not None
    asked = Asked(_time(options["p99"]), options["budget"] * 60, plan, options["users"], named)
    experiment = _experiment(options["app"], options)
    return AdviceFile(experiment, ["septet", *sys.argv[1:]], asdict(asked)), experiment, asked


def _tell(search: Search, experiment: Experiment, asked: Asked, advice_file: AdviceFile, as_json: bool) -> int:
    """Store the result of the search in advice.json and print it; return the exit status 0. Raises Failed when no
    candidate met the latency target at any rate. `as_json`: print JSON in place of text.
    """
    advice = decide(search, asked.p99_s)
    rows = _rows(advice, search, asked.plan, asked.p99_s) if advice is not None and asked.plan else []
    values = {**advice_text.values(advice, search, experiment), "plan": [asdict(row) for row in rows]}
    advice_file.write(values, finished=True)
    if as_json:
        click.echo(json.dumps(values))
    elif advice is not None:
        lines = advice_text.answer(advice, search, experiment)
        if asked.plan:
            lines += ["", *advice_text.extrapolation(asked.plan, rows, advice, search.situation)]
        click.echo("\n" + "\n".join([*lines, "", str(advice_file.path)]))
    if advice is None:
        raise Failed(f"{advice_text.not_held(search, asked.p99_s)}; what was measured is in {advice_file.path}")
    return 0


def _rows(advice: Advice, search: Search, rate: float, target_s: float) -> list[extrapolation.MachineRow]:
    one = service(advice.chosen, search)
    return extrapolation.plan(rate, one, target_s, advice.law_of_cpus, memory_of_cores(advice.chosen, search))


def _situation(
    experiment: Experiment, search_run: SearchRun, progress: ProgressDisplay, asked: Asked, if_busy: str
) -> Situation:
    """Measure the workload profile and read the machine's limits.

    Raises Failed if the application does not answer. `if_busy`: what to do if other programs use the CPUs, see
    `machine_limits.await_quiet`.
    """
    usable = machine_limits(experiment.pinned)
    for note in usable.notes:
        progress.say(note)
    await_quiet(progress.say, min(QUIET_WAIT_S, QUIET_WAIT_SHARE * asked.budget_s), if_busy)
    search_run.begin()
    try:
        found = served(experiment, FIRST)
        profile = search_run.profile(FIRST, found.asynchronous)
    except Failed as failure:
        raise Failed(f"{experiment.app} cannot be measured: {failure}") from None
    situation = Situation(
        profile=profile,
        cpus=usable.cpus,
        users=asked.users or profile.users(usable.cpus),
        memory_bytes=usable.memory_bytes,
        models=experiment.models,
        named=asked.named,
        has_gil=found.has_gil,
        gil_turned_on_by=found.gil_turned_on_by,
    )
    if (build := advice_text.build(situation)) is not None:
        progress.say(build)
    return situation


def _experiment(name: str | None, options: dict[str, Any]) -> Experiment:
    app = application(name)
    models = choose_models(options["models"], model_names())
    if options["models"] is None:
        models = tuple(model for model in models if model not in LEFT_OUT)
    out = options["out"] or output.dated("advise")
    asked = arguments.serve_options(options["serve_options"], SEARCHED)
    return Experiment(
        out=out,
        models=models,
        app=app.name,
        app_words=app.words,
        path=arguments.path(options["path"], app.path),
        mode=options["mode"],
        start_timeout_s=START_TIMEOUT_S,
        scenario=arguments.scenario(options["scenario"]),
        serve_options=(*asked, *(tls.serve_options(out, LOOPBACK) if options["tls"] else ())),
        pinned=pinning(),
    )


def _time(text: str) -> float:
    match = DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * (0.001 if match[2] == "ms" else 1.0) if match else 0.0
    if not seconds:
        raise UsageError(f"--p99: {text!r} is not a time, such as 50ms or 0.2s")
    return seconds
