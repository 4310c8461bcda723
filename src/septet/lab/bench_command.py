"""The verb `bench` of the command line."""

from __future__ import annotations

import contextlib
import random
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from septet.errors import Failed, UsageError
from septet.lab import arguments, client, cluster, http2, interrupts, output, profiles, tls
from septet.lab.afterwards import Afterwards
from septet.lab.applications import GUESTBOOK_PATH, application
from septet.lab.arguments import COUNT, DIRECTORY, FILE, FILE_OR_DIRECTORY, NOT_NEGATIVE, PERCENT, POSITIVE, SPAN
from septet.lab.client import Load
from septet.lab.cluster import cluster_spec
from septet.lab.drill.drill import NAMES
from septet.lab.experiment import Experiment, Run
from septet.lab.known_models import choose_models, model_names, possible_models, tell_left_out, unsupported_options
from septet.lab.server import LOOPBACK
from septet.lab.summary import Summary
from septet.lab.verdicts import DOUBT_MARK, FOREIGN_SHARE_MAX

if TYPE_CHECKING:  # it needs rich, which is an extra
    from septet.lab.live import LivePage

CLOSE_HELP = "A new connection for every request: then all models do the same work for a request.  [default]"
WHERE_HELP = "After the last run, record where the time of a request goes."
GATE_HELP = "Measure what these results measured; exit status 1 where it got worse beyond noise."
USERS = (20, 100, 500, 1000)
REPEATS = 3
DRILL_USERS = 128
TURNS = 3
"""With --for: how often each server is visited (loaded and measured once) in a round: so often that the visits take
longer than starting the server, and that one round can decide an order.
"""
SHORT = {"duration_s": 0.8, "warmup_s": 0.15, "warmup_max_s": 0.15, "users_per_window": 800}
"""Values of the experiment that --for replaces: models and servers can be compared better with many short measurements
of each than with a few long ones. But what disturbs a machine comes in bursts of some tenths of a second: ratios of
visits of 0.4 s had a standard deviation of 11 %, those of 1.2 s one of 6 % (two virtual CPUs, 2026-11-30). In the
same time, three visits of 0.8 s for each server gave errors of ratios a fifth smaller than four of 0.4 s. Where answers
come soon, and less time lies between two visits, shorter ones say more: `septet.lab.rounds.with_short_windows`.
"""
BUSY_ADVICE = "figures will be noisy, and contenders compared by CPU time, evened, where CPU time is the limit"
STRETCH_MAX = 1.5
"""On a busy machine the measured time of each run is made longer, at most by this factor."""
FIRST_SHARE = 0.34
"""In an experiment with two pages: largest share of the time of --for that the first page may take."""
OF_ONE_PAGE = ("path", "scenario", "users", "trace", "mode")
FIELDS = {"duration": "duration_s", "warmup": "warmup_s", "warmup_max": "warmup_max_s", "timeout": "timeout_s"}


@click.command(
    epilog="""\b
Examples:
  septet bench
  septet bench shop.web:app --path /products --users 10,50,200
  septet bench --for 4m --live
  septet bench --models preforked,epoll --keep-alive --sweep workers=1,2,4
  septet bench shop.web:app --models epoll,prethreaded --servers gunicorn,granian,waitress --pool 16
  septet bench shop.web:app --models epoll --pythons python3.11,python3.13
  septet bench wait --models prethreaded,threaded --path '/?ms=20'
  septet bench shop.web:app --http2 --streams 10 --users 20,100,500
  septet bench --profile seed --users 20,100,1000,5000
  septet bench shop.web:app --host 10.0.0.7 --cluster ssh:anna,berta --users 1000,20000
  septet bench --gate baseline/results.json
  septet bench --resume bench-2026-11-23-081500
  septet bench shop.web:app --drill reload --models epoll --for 60s

Small applications that isolate a cause: hello, cpu, wait, stream (each also as hello-asgi ...), static.

Each run has a fresh server; each repeat visits all cells in random order. A cell that fails is shown as failed, with
the
reason, and the others go on: the exit status is 1 only when every cell failed. Ctrl-C keeps the finished runs.

With --gate nothing is drawn. Exit status: 0; 1 when something got worse at two looks; 2 when nothing could be
judged.""",
)
@click.argument("app", required=False)
@click.option("--models", metavar="A,B,...", help="Models to measure.  [default: all]")
@click.option("--servers", metavar="FILE.toml|A,B,...", help="Other servers to measure, from a file or by name.")
@click.option("--pool", metavar="T|WxT", help="Threads of every contender, or PROCESSESxTHREADS of each: 16, 2x8.")
@click.option("--pythons", metavar="A,B,...", help="Measure each model under each of these interpreters of Python.")
@click.option("--profile", type=click.Choice(profiles.NAMES), help="A preset of users, connections, pools and backlog.")
@click.option("--users", metavar="N,N,...", help="Simultaneous users.  [default: 20,100,500,1000]")
@click.option("--repeats", type=COUNT, default=REPEATS, show_default=True, help="Runs of each cell.")
@click.option(
    "--for",
    "for_s",
    type=SPAN,
    metavar="TIME",
    help="Repeat where the ranking is open, until it is decided or this time is up (90s, 4m); not with --repeats.",
)
@click.option("--duration", type=POSITIVE, default=0.8, show_default=True, help="Seconds measured in each run.")
@click.option("--warmup", type=NOT_NEGATIVE, default=0.3, show_default=True, help="Seconds of warm-up, at least.")
@click.option(
    "--warmup-max",
    type=NOT_NEGATIVE,
    default=0.6,
    show_default=True,
    help="Seconds of warm-up, at most.",
)
@click.option("--timeout", type=POSITIVE, default=10.0, show_default=True, help="Seconds a request may take.")
@click.option("--path", help=f"Path that the users request.  [default: / of APP, else {GUESTBOOK_PATH}]")
@click.option("--scenario", type=FILE, help="TOML file of several targets with weights; see `septet load`.")
@click.option("--close", "mode", flag_value="close", help=CLOSE_HELP)
@click.option("--http10", "mode", flag_value="http10", help="A new HTTP/1.0 connection for every request.")
@click.option("--keep-alive", "mode", flag_value="keep-alive", help="Each user keeps one connection.")
@click.option("--http2", is_flag=True, help=http2.HELP)
@click.option("--streams", type=COUNT, metavar="N", help=http2.STREAMS_HELP)
@click.option("--expect-length", metavar="N|any", help="Body bytes of a right answer.  [default: as the first one]")
@click.option("--serve-option", "serve_options", multiple=True, metavar="'--X Y'", help="Options for `septet serve`.")
@click.option("--tls", is_flag=True, help=tls.HELP)
@click.option("--sweep", "sweeps", multiple=True, metavar="X=A,B,...", help="Measure with each of these values of --X.")
@click.option("--pin/--no-pin", default=True, show_default=True, help="Bind server and users to different CPUs.")
@click.option("--host", default=LOOPBACK, show_default=True, help="Address of this machine for the servers.")
@click.option("--cluster", metavar="PLACES", help=cluster.HELP)
@click.option("--cpus", metavar="N,N,...", help="CPUs of each worker of the cluster; one process on each.")
@click.option("--where/--no-where", default=True, show_default=True, help=WHERE_HELP)
@click.option("--trace", is_flag=True, help="Also trace a second of each model, after the last run.")
@click.option("--drill", type=click.Choice(NAMES), help="Give orders under load, and count the requests that are lost.")
@click.option("--rate", type=POSITIVE, default=500.0, show_default=True, help="Requests per second of a drill.")
@click.option("--live", is_flag=True, help="Show the run in a browser while it grows; prints the address.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the order of the runs.  [default: random]")
@click.option("--gate", type=FILE_OR_DIRECTORY, metavar="BASELINE", help=GATE_HELP)
@click.option("--resume", type=DIRECTORY, help="Resume the interrupted experiment in this directory.")
@click.option("--tolerance", type=PERCENT, default=5.0, show_default=True, help="Of --gate: a smaller change is none.")
@click.option("--out", type=DIRECTORY, help="Directory for results; replaces older ones.  [default: bench-DATE-TIME]")
def bench(app: str | None, resume: Path | None, gate: Path | None, **options: Any) -> int:
    """Load every model with rising numbers of users, and draw charts.

    Measures APP (MODULE:ATTRIBUTE), or the guestbook that comes with Septet, on a fresh SQLite file.
    Writes results.json, report.html with all pictures, and each of them as SVG, PNG and CSV; prints the table. --drill
    measures nothing: half of the users keep their connection, the others connect anew, and what is lost is told.
    """
    if resume is None and gate is None:
        http2.check(options)
    if options["drill"] is not None:
        return _drill(app, options)
    if gate is not None:
        return _gate(gate, options)
    if not _is_default("tolerance"):
        raise UsageError("--tolerance: it is that of --gate")
    from septet.lab.report import save  # noqa: F401  here, so that a missing package is found before an hour of measuring

    interrupts.term_as_interrupt()
    with contextlib.ExitStack() as stack:
        page = _live(stack, options) if options["live"] else None
        if options["profile"] == profiles.TWO_PAGES and resume is None:
            return _two_pages(app, options, page)
        return _one_page(app, resume, options, page)


def _live(stack: contextlib.ExitStack, options: dict[str, Any]) -> LivePage:
    """Start the server of the page of --live, which runs until the stack is closed, and print its address."""
    from septet.lab import live

    pinned = cluster_spec.pinned(options["cluster"], arguments.cpus(options["cpus"]), options["pin"])
    page, url = stack.enter_context(live.serving(() if options["cluster"] else pinned.client))
    click.echo(f"live: {url}", err=True)
    return page


def _one_page(app: str | None, resume: Path | None, options: dict[str, Any], page: LivePage | None) -> int:
    """Run and report one experiment, a new one or one that is resumed. `page`: the page of --live, or None."""
    from septet.lab import bench as benching
    from septet.lab import results

    if resume is not None:
        why = "--resume continues with the options of the experiment"
        arguments.check_unchanged(click.get_current_context(), why, ("resume", "where", "trace", "live"))
        recorded, experiment = benching.interrupted(resume)
        runs = results.resume(recorded)
    else:
        _check_repeats(click.get_current_context())
        experiment = _experiment(app, options)
        recorded = results.begin(experiment, ["septet", *sys.argv[1:]])
        runs = experiment.runs()
    afterwards = Afterwards(options["where"], options["trace"])
    _measure(experiment, recorded, runs, resume is None, afterwards, page)
    return _report([(experiment, recorded)], experiment.out)


def _two_pages(app: str | None, options: dict[str, Any], live_page: LivePage | None) -> int:
    """Run two experiments, each in its own directory, and write one report. `live_page`: that of --live, or None."""
    from septet.lab import results

    _check_repeats(click.get_current_context())
    refused = ["APP"] * (app is not None) + [f"--{name}" for name in OF_ONE_PAGE if options[name]]
    if refused:
        raise UsageError(f"--profile {profiles.TWO_PAGES} has pages and users of its own, so without {refused[0]}")
    out = options["out"] or output.dated("bench")
    begun, whole_s = time.monotonic(), options["for_s"]
    done: list[tuple[Experiment, dict[str, Any]]] = []
    for name in profiles.PAGES:
        if whole_s is not None:  # what the first leaves is for the last
            left_s = whole_s - (time.monotonic() - begun)
            options["for_s"] = max(1.0, left_s if done else left_s * FIRST_SHARE)
        page = profiles.profile(name)
        click.echo(f"{page.title}:", err=True)
        experiment = _experiment(page.app, {**options, "profile": name, "out": out / name})
        recorded = results.begin(experiment, ["septet", *sys.argv[1:]])
        last = name == profiles.PAGES[-1]
        _measure(experiment, recorded, experiment.runs(), True, Afterwards(options["where"]), live_page, last)
        done.append((experiment, recorded))
        if recorded["finished"] is None:
            break
    return _report(done[::-1], out)


def _drill(app: str | None, options: dict[str, Any]) -> int:
    from septet.lab.drill import command

    interrupts.term_as_interrupt()
    users = max(arguments.users(options["users"], None)) if options["users"] else DRILL_USERS
    return command.run(options["drill"], _experiment(app, options), users, options["rate"], options["for_s"])


def _gate(baseline: Path, options: dict[str, Any]) -> int:
    from septet.lab import gate as gating

    interrupts.term_as_interrupt()
    arguments.check_unchanged(
        click.get_current_context(), "--gate measures as its baseline did", ("gate", "out", "seed", "tolerance")
    )
    seed = random.randrange(1 << 32) if options["seed"] is None else options["seed"]

    def measure(experiment: Experiment, recorded: dict[str, Any]) -> None:
        _measure(experiment, recorded, experiment.runs(), True, Afterwards())

    return gating.gate(baseline, options["out"], seed, options["tolerance"] / 100, measure)


def _check_repeats(context: click.Context) -> None:
    """Raise UsageError when both --for and --repeats are given."""
    if context.params["for_s"] is not None and not _is_default("repeats"):
        raise UsageError("--for: it repeats as often as it takes, so without --repeats")


def _measure(
    experiment: Experiment,
    recorded: dict[str, Any],
    runs: list[Run],
    first: bool,
    afterwards: Afterwards,
    page: LivePage | None = None,
    last: bool = True,
) -> None:
    from septet.lab import bench as benching
    from septet.lab import machine
    from septet.lab.display import display
    from septet.lab.live import shown_live
    from septet.lab.redis import redis
    from septet.lab.rounds import until_decided, with_short_windows

    if first and _is_default("models"):
        tell_left_out()
    with contextlib.ExitStack() as stack:
        load, look = _load(experiment, recorded, stack)
        if experiment.profile is not None and profiles.profile(experiment.profile).redis:
            output.make(experiment.out)
            cpus = (
                () if experiment.cluster else experiment.pinned.client
            )  # those of a cluster may belong to other machines
            experiment = experiment.with_store(stack.enter_context(redis(cpus)))
        if first:
            try:
                recorded["alone"] = benching.preflight(experiment, look, load or client.load)
            except KeyboardInterrupt:
                raise click.Abort from None
        if (busy := machine.busy_share()) > FOREIGN_SHARE_MAX:
            click.echo(f"other programs use {busy:.0%} of the CPUs: {BUSY_ADVICE}", err=True)
            if first and experiment.for_s is not None:
                experiment = _stretched(experiment, busy)
                recorded["experiment"] = experiment.values()
        if first and experiment.for_s is not None and _is_default("duration"):
            experiment = with_short_windows(experiment, recorded["alone"])
            recorded["experiment"] = experiment.values()
        number = len(runs) if experiment.for_s is None else None
        with (
            display(experiment, number) as terminal,
            shown_live(terminal, page, experiment, number, recorded, last) as shown,
        ):
            rounds: Iterable[Iterable[Run]] = ([run] for run in runs)
            if experiment.for_s is not None:
                rounds = until_decided(experiment, recorded, shown.tell, kept_s=afterwards.kept_s(experiment))
            benching.run(experiment, recorded, rounds, shown, load)
        if recorded["finished"] is not None:
            afterwards.record(experiment, recorded, lambda line: click.echo(line, err=True))


def _stretched(experiment: Experiment, busy: float) -> Experiment:
    """Return the experiment with longer runs, for a machine on which other programs use the share `busy` of the CPUs: a
    server that gets a tenth of a CPU answers few requests in 0.4 seconds.
    """
    longer = min(STRETCH_MAX, 1 / max(1e-9, 1 - busy))
    return replace(experiment, duration_s=round(longer * experiment.duration_s, 2))


def _load(
    experiment: Experiment, recorded: dict[str, Any], stack: contextlib.ExitStack
) -> tuple[Load | None, Callable[[str], None]]:
    """Connect to the workers of --cluster until `stack` is closed, and add them to the results, `recorded`. Returns two
    functions: one that carries out a plan of the load generator on the workers, and one that raises Failed if a worker
    cannot reach a URL. Without --cluster: None, and a function that does nothing.
    """
    if experiment.cluster is None:
        return None, lambda url: None
    found = stack.enter_context(cluster.opened(experiment.cluster))
    recorded.setdefault("workers", {}).update(found.machines())
    return found.load_cell, partial(found.check_reach, cure="--host ADDRESS names one that they reach")


def _experiment(name: str | None, options: dict[str, Any]) -> Experiment:
    from septet.lab import contenders, interpreters
    from septet.lab.equal_terms import as_they_come, on_equal_terms

    app = application(name)
    profile = profiles.profile(options["profile"]) if options["profile"] else None
    times = {field: options[option] for option, field in FIELDS.items()}
    if options["for_s"] is not None and _is_default("duration"):
        times |= SHORT
    sweeps = tuple(arguments.sweep(text) for text in options["sweeps"])
    others = contenders.read(options["servers"], frozenset(name for name, _ in sweeps)) if options["servers"] else ()
    if others and not app.is_callable:
        raise UsageError(f"--servers: other servers cannot be told to serve {app.name!r}, which are files")
    models = choose_models(options["models"], model_names()) if options["models"] is not None else possible_models()
    out, host = options["out"] or output.dated("bench"), cluster_spec.host(options["host"])
    if options["tls"] and (others or options["trace"]):
        raise UsageError(f"--tls: it does not go with {'--servers' if others else '--trace'}")
    experiment = Experiment(
        out=out,
        models=models,
        users=arguments.users(options["users"], options["cluster"])
        if options["users"]
        else profile.users
        if profile
        else USERS,
        app=app.name,
        app_words=app.words,
        path=arguments.path(options["path"], app.path),
        mode=options["mode"] or (profile.mode if profile else http2.mode(options["http2"])),
        streams=http2.streams(options["http2"], options["streams"]),
        expect_length=arguments.expect_length(options["expect_length"]),
        scenario=arguments.scenario(options["scenario"]),
        repeats=options["repeats"],
        for_s=options["for_s"],
        turns=TURNS if options["for_s"] else 1,
        seed=random.randrange(1 << 32) if options["seed"] is None else options["seed"],
        sweeps=sweeps,
        lacking=unsupported_options(models, [name for name, _ in sweeps]) if sweeps else {},
        others=others,
        pythons=interpreters.read(options["pythons"]) if options["pythons"] else (),
        profile=options["profile"],
        serve_options=(
            *(profile.options if profile else ()),
            *arguments.serve_options(options["serve_options"]),
            *(tls.serve_options(out, host) if options["tls"] else ()),
            *(("--http2-cleartext",) if options["http2"] and not options["tls"] else ()),
        ),
        model_options=dict(profile.model_options) if profile else {},
        host=host,
        cluster=options["cluster"],
        pinned=cluster_spec.pinned(options["cluster"], arguments.cpus(options["cpus"]), options["pin"]),
        **times,
    )
    if not others and options["pool"] is None:
        return as_they_come(experiment) if app.is_callable else experiment
    return on_equal_terms(experiment, options["pool"], lambda line: click.echo(line, err=True))


def _is_default(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is ParameterSource.DEFAULT


def _report(done: Sequence[tuple[Experiment, dict[str, Any]]], out: Path) -> int:
    """Print what the experiments have measured, and draw it into the directory `out`. Returns the exit status."""
    from septet.lab import results, summary
    from septet.lab.report.glance import Page
    from septet.lab.report.save import save_pages

    if not all(recorded["runs"] for _, recorded in done):
        raise click.Abort
    pages = [
        Page(recorded, summary.summaries(recorded), profiles.title(experiment.profile) if len(done) > 1 else "")
        for experiment, recorded in done
    ]
    for page in pages:
        _print(page.title, page.results, page.cells)
    click.echo(output.DRAWING, err=True)
    try:
        drawn = save_pages(pages, out)
    except OSError as error:  # probably the disk is full: the results are stored, and can be drawn elsewhere
        raise output.unwritable(out, error) from None
    click.echo("\n" + "\n".join(str(path) for path in [*(each.out / results.NAME for each, _ in done), *drawn]))
    for experiment, recorded in done:
        if recorded["finished"] is None:
            click.echo(f"\nto go on: septet bench --resume {shlex.quote(str(experiment.out))}")
            raise click.Abort
    if not any(cell.figures for page in pages for cell in page.cells):
        raise Failed("every cell failed")
    return 0


def _print(title: str, recorded: dict[str, Any], cells: Sequence[Summary]) -> None:
    """Print the tables and sentences about one experiment. The conclusions come last, because the end of the output is
    what a terminal shows.
    """
    from septet.lab import caveats, tables
    from septet.lab.beside import beside
    from septet.lab.report.about import cpus_line, page_line
    from septet.lab.report.findings import findings, focus, others_share

    if title:
        click.echo()  # the line of the page begins with it
    busy = others_share(recorded)
    above = (page_line(recorded, cells), cpus_line(recorded), recorded["experiment"].get("pool_told"), busy)
    for line in filter(None, above):
        click.echo(f"{line}\n")
    click.echo(tables.rates(cells, recorded["experiment"]["users"]))
    most = max((cell.users for cell in cells if cell.figures), default=None)
    if most is not None:
        click.echo("\n" + tables.costs(cells, most))
    for table in beside(recorded, cells, focus(cells)):
        click.echo(f"\n{table.title}:\n\n{tables.aligned(table.lines)}")
    for sentence in [*caveats.caveats(recorded, cells, DOUBT_MARK), *findings(recorded, cells)]:
        if sentence != busy:
            click.echo("\n" + sentence)
