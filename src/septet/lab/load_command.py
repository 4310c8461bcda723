"""The verb `load` of the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from septet.errors import Failed, UsageError
from septet.lab import arguments, cluster, http2, interrupts, load_series, output
from septet.lab import load as generator
from septet.lab.arguments import BYTES_PER_SECOND, COUNT, DIRECTORY, FILE, NOT_NEGATIVE, POSITIVE, SPAN_OR_0
from septet.lab.load import ARRIVALS, THINK_TIMES, LoadError, NoListener, Plan

CARRIED_SHARE_MIN = 0.95
"""A warning is printed if the rate of answers is below this share of the rate at which requests were due. The share is
not 1, because answers that come after the measured window are not counted.
"""

SLO_HELP = "Objective: find the highest rate that holds it; with --rate, exit status 3 if that one misses it."
RAMP_HELP = "Time in which users arrive, or --rate grows, before the warm-up."
THINK_HELP = "Without --rate: time between an answer and the user's next request."

GAUGE = {"duration_s": 3.0, "warmup_s": 0.5}
"""The length of each run in a search for the highest rate (`--slo` without `--rate`), unless the command line gives it:
seconds of the measured window, and of the warm-up before it.
"""
FIELDS = {"duration_s": "duration", "warmup_s": "warmup"}


@click.command(
    epilog="""\b
Examples:
  septet load http://127.0.0.1:8000/
  septet load http://127.0.0.1:8000/guestbook --users 500 --duration 10 --close
  septet load http://127.0.0.1:8000/ --rate 2000 --users 200
  septet load http://127.0.0.1:8000/ --slo 'p99<50ms,errors<0.1%'
  septet load http://127.0.0.1:8000/ --slo 'p99<50ms,errors<0.1%' --rate 500 --arrivals poisson
  septet load http://127.0.0.1:8000/ --rate 2000 --arrivals poisson --ramp 10s --series seconds.ndjson --hdr load.hlog
  septet load http://127.0.0.1:8000/ --users 500 --think 2s --think-times exponential --slow 100 --slow-rate 1KiB/s
  septet load http://127.0.0.1:8000/ --scenario shop.toml --cpus 2,3
  septet load http://10.0.0.7/ --header 'Accept: text/html' --json
  septet load https://localhost:8443/ --ca localhost.pem
  septet load https://localhost:8443/ --ca localhost.pem --http2 --users 640 --streams 10
  septet load ws://127.0.0.1:8000/echo --users 1000 --rate 500 --message-size 200
  septet load unix:/run/app.sock:/guestbook
  septet load http://10.0.0.7/ --users 20000 --cluster ssh:anna,berta

With --http2 a user is one stream: --users 640 --streams 10 are 640 requests at a time on 64 connections.

ws:// needs a server that answers every message, as an echo does.

A latency is counted from the instant at which its request was due: with --rate by the rate, so that a server that
stalls cannot hide it; without --rate when the answer before had come.

Exit status: 0; 1 when nothing was answered, or --slo cannot be told; 2 for a wrong command line; 3 when --slo was
missed at --rate, or is held at no rate.""",
)
@click.argument("url")
@click.option("--users", type=COUNT, default=Plan.users, show_default=True, help="Simultaneous users.")
@click.option("--slo", metavar="'p99<50ms,errors<0.1%'", help=SLO_HELP)
@click.option("--rate", type=POSITIVE, help="Requests due in a second, sent by free users (an open loop).")
@click.option("--arrivals", type=click.Choice(ARRIVALS), help="Of --rate: evenly, or at random.  [default: uniform]")
@click.option("--think", type=SPAN_OR_0, metavar="TIME", default=0.0, help=THINK_HELP)
@click.option("--think-times", type=click.Choice(THINK_TIMES), help="All alike, or random.  [default: constant]")
@click.option("--slow", type=COUNT, help="Clients beside the users that send and read slowly.")
@click.option("--slow-rate", type=BYTES_PER_SECOND, metavar="RATE", help="Of each of them.  [default: 1KiB/s]")
@click.option("--duration", type=POSITIVE, default=Plan.duration_s, show_default=True, help="Seconds measured.")
@click.option("--warmup", type=NOT_NEGATIVE, default=Plan.warmup_s, show_default=True, help="Seconds of warm-up.")
@click.option("--warmup-max", type=NOT_NEGATIVE, default=0.0, help="Warm up until steady, at most so many seconds.")
@click.option("--ramp", type=SPAN_OR_0, metavar="TIME", default=0.0, help=RAMP_HELP)
@click.option("--timeout", type=POSITIVE, default=Plan.timeout_s, show_default=True, help="Seconds a request may take.")
@click.option("--keep-alive", "mode", flag_value="keep-alive", default=True, help="Users keep connections.  [default]")
@click.option("--close", "mode", flag_value="close", help="A new connection for every request.")
@click.option("--http10", "mode", flag_value="http10", help="A new HTTP/1.0 connection for every request.")
@click.option("--per-connection", type=COUNT, help="Requests after which a user takes a new connection.")
@click.option("--http2", is_flag=True, help=http2.LOAD_HELP)
@click.option("--streams", type=COUNT, metavar="N", help=http2.STREAMS_HELP)
@click.option("--method", default=Plan.method, show_default=True, help="Method of the requests.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent with every request.")
@click.option("--body", default="", help="Body of every request; @FILE: the content of that file.")
@click.option(
    "--message-size", type=COUNT, default=32, show_default=True, help="ws: bytes of a message without --body."
)
@click.option("--binary", is_flag=True, help="ws: messages are binary, not text.")
@click.option("--cookies", is_flag=True, help="Users keep the cookies that the server gives them.")
@click.option("--scenario", type=FILE, help="TOML file of several targets with weights; replaces the path of the URL.")
@click.option("--expect-length", metavar="N|any", help="Body bytes of a right answer.  [default: as the first two]")
@click.option("--ca", type=FILE, help="https: PEM file of the authorities to trust.  [default: the system's]")
@click.option("--insecure", is_flag=True, help="https: take any certificate.")
@click.option("--cpus", metavar="N,N,...", help="CPUs; one process on each.  [default: one process on any CPU]")
@click.option("--cluster", "spec", metavar="PLACES", help=cluster.HELP)
@click.option("--overflow", is_flag=True, help="Let more users connect at once than the listener's queue holds.")
@click.option("--series", type=FILE, help="Write what each second brought to this file, as lines of JSON.")
@click.option("--hdr", type=FILE, help="Write a log of HdrHistograms (format 1.3) to this file.")
@click.option(
    "--out", type=DIRECTORY, help="Of --slo without --rate: directory for results.  [default: load-DATE-TIME]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def load(url: str, as_json: bool, spec: str | None, **options: Any) -> int:
    """Load any server with simultaneous users.

    Each user sends the next request when the answer to the last one has come, or requests come at a fixed rate.
    `{user}` in path, headers or body stands for the number of the user. Every answer is checked; errors are counted by
    kind, and a user rests for 100 ms after one.
    """
    from septet.lab import tables
    from septet.lab.verdicts import client_limit

    try:
        plan = _plan(url, options)
        _check(plan, options, spec)
        if options["slo"] is not None:
            return _objective(plan, options, spec, as_json)
        with load_series.written(options["series"], options["hdr"]) as receive:
            figures = generator.run(plan, receive) if spec is None else _from(spec, plan)
    except NoListener as error:
        raise Failed(str(error)) from None
    except LoadError as error:
        raise UsageError(str(error)) from None
    click.echo(json.dumps(figures) if as_json else tables.load_figures(figures))
    if (limit := client_limit(figures)) is not None:
        click.echo(f"client-limited: {limit}", err=True)
    if figures["answers"] and (said := tables.error_text(figures)):
        click.echo(said, err=True)
    for sentence in _remarks(figures, limited=limit is not None):
        click.echo(sentence, err=True)
    if not figures["answers"]:
        raise Failed(tables.no_answer(url, figures))
    return 0


def _remarks(figures: dict[str, Any], limited: bool) -> Iterator[str]:
    """Return warnings to print after the table: the server answered fewer requests in a second than were due, or
    answers were redirects, which users do not follow.

    `limited`: True if the load generator was at its limit, so that the server may not be the cause.
    """
    offered, carried = figures.get("offered_per_s"), figures["requests_per_s"]
    if offered and carried < CARRIED_SHARE_MIN * offered:
        whom = "this server, or for the load generator" if limited else "this server"
        yield f"offered {offered:,.0f}, carried {carried:,.0f} requests/s: too much for {whom}"
    redirects = sum(count for status, count in figures["statuses"].items() if status.startswith("3"))
    if redirects:
        total = sum(figures["statuses"].values())
        yield f"{redirects:,} of {total:,} answers were redirects, which users do not follow: is the path right?"


def _objective(plan: Plan, options: dict[str, Any], spec: str | None, as_json: bool) -> int:
    """Carry out `--slo`: find out whether the server meets the objective at the given rate, or the highest rate at
    which it does. Returns the exit status: 0, or 3 if the objective is missed. `spec` names the places of --cluster
    that send the load; None: this machine.
    """
    from septet.lab.objective import command
    from septet.lab.objective.gauge import Gauger
    from septet.lab.objective.objective import read

    objective = read(options["slo"])
    if plan.rate is None:
        shorter: dict[str, Any] = {field: value for field, value in GAUGE.items() if not _is_given(FIELDS[field])}
        plan = replace(plan, **shorter)
    shown: list[dict[str, Any]] = []

    def carry(each: Plan) -> dict[str, Any]:
        figures = generator.run(each) if spec is None else _from(spec, each)
        if figures["interrupted"]:
            raise click.Abort
        shown.append(figures)
        return figures

    users = plan.users if _is_given("users") else None
    duration_s = plan.duration_s if _is_given("duration") else None
    gauger = Gauger(plan, objective, carry, users, duration_s, timeout_is_given=_is_given("timeout"))

    def say(line: str) -> None:
        click.echo(line, err=True)

    if plan.rate is not None:
        return command.hold(gauger, objective, plan.rate, say, as_json, shown)
    return command.find(gauger, plan, objective, carry, say, as_json, options["out"] or output.dated("load"))


def _is_given(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is not ParameterSource.DEFAULT


def _check(plan: Plan, options: dict[str, Any], spec: str | None) -> None:
    """Raise UsageError for options that have no effect together with the others, or contradict them. `spec` is the
    value of --cluster; None without it.
    """
    if options["think_times"] and not plan.think_s:
        raise UsageError("--think-times: it says how --think TIME is spread, so take that as well")
    if options["slow_rate"] and not plan.slow:
        raise UsageError("--slow-rate: it is that of the clients of --slow N, so take that as well")
    if plan.seconds and options["slo"] is not None:
        raise UsageError("--series and --hdr: they are of one run, and --slo makes several")
    if options["slo"] is not None and plan.think_s:
        raise UsageError("--think: it goes with users who send after the answer, and --slo with rates")
    if options["out"] is not None and (options["slo"] is None or plan.rate is not None):
        raise UsageError("--out: only --slo without --rate draws something")
    if plan.seconds and spec is not None:
        raise UsageError("--series and --hdr: the clocks of several machines have no second in common: not --cluster")


def _from(spec: str, plan: Plan) -> dict[str, Any]:
    interrupts.term_as_interrupt()
    with cluster.opened(spec) as found:
        found.check_reach(plan.url)
        return found.load(plan, lambda event, details: None)


def _plan(url: str, options: dict[str, Any]) -> Plan:
    fields: dict[str, Any] = {
        "headers": options["headers"],
        "cookies": options["cookies"],
        "method": options["method"],
        "body": _body(options["body"]),
        "binary": options["binary"],
        "message_size": options["message_size"],
    }
    if options["scenario"] is not None:
        scenario = generator.read_scenario(options["scenario"])
        fields["targets"] = scenario["targets"]
        fields["headers"] = generator.merged(scenario["headers"], fields["headers"])
        fields["cookies"] = scenario["cookies"] or fields["cookies"]
    return Plan(
        url=url,
        users=options["users"],
        rate=options["rate"],
        duration_s=options["duration"],
        warmup_s=options["warmup"],
        warmup_max_s=options["warmup_max"],
        timeout_s=options["timeout"],
        mode=options["mode"],
        requests_per_connection=options["per_connection"] or 0,
        streams=http2.streams(options["http2"], options["streams"]),
        expect_length=arguments.expect_length(options["expect_length"]),
        insecure=options["insecure"],
        ca=generator.read_authorities(options["ca"]) if options["ca"] else "",
        cpus=arguments.cpus(options["cpus"]),
        arrivals=options["arrivals"] or Plan.arrivals,
        ramp_s=options["ramp"],
        think_s=options["think"],
        think_times=options["think_times"] or Plan.think_times,
        slow=options["slow"] or 0,
        slow_rate=options["slow_rate"] or Plan.slow_rate,
        seconds=options["series"] is not None or options["hdr"] is not None,
        overflow=options["overflow"],
        **fields,
    )


def _body(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise UsageError(f"--body: {text[1:]} cannot be read: {error.strerror}") from None
