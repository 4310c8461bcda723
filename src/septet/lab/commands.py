"""The verbs `bench` and `load` of the command line."""

from __future__ import annotations

import datetime
import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import click

from septet.errors import Failed, UsageError
from septet.lab import load as generator
from septet.lab.experiment import GUESTBOOK, GUESTBOOK_PATH, Experiment
from septet.lab.load import ANY_LENGTH, LoadError, Plan

POSITIVE = click.FloatRange(min=0, min_open=True)
DIRECTORY = click.Path(file_okay=False, path_type=Path)
CLOSE_HELP = "A new connection for every request: every model then does the same work for a request.  [default]"


@click.command(
    epilog="""\b
Examples:
  septet bench
  septet bench shop.web:app --path /products --users 10,50,200
  septet bench --models preforked,epoll --keep-alive --serve-option "--workers 4"

Each cell (one model at one number of users) is a fresh server. What failed is shown as failed, with its reason, and the
rest goes on: the exit status is 1 only when every cell failed. Ctrl-C keeps the cells that are finished.""",
)
@click.argument("app", required=False)
@click.option("--models", metavar="A,B,...", help="Which models.  [default: all]")
@click.option("--users", default="20,100,500,1000", show_default=True, metavar="N,N,...", help="Simultaneous users.")
@click.option("--duration", type=POSITIVE, default=2.0, show_default=True, help="Seconds measured in each cell.")
@click.option("--warmup", type=click.FloatRange(min=0), default=0.5, show_default=True, help="Seconds before them.")
@click.option("--timeout", type=POSITIVE, default=10.0, show_default=True, help="Seconds a request may take.")
@click.option("--path", help=f"What the users ask for.  [default: / of APP, else {GUESTBOOK_PATH}]")
@click.option("--close", "mode", flag_value="close", default=True, help=CLOSE_HELP)
@click.option("--http10", "mode", flag_value="http10", help="The same in HTTP/1.0.")
@click.option("--keep-alive", "mode", flag_value="keep-alive", help="Each user keeps one connection.")
@click.option("--expect-length", metavar="N|any", help="Body bytes of a right answer.  [default: as the first one]")
@click.option("--serve-option", "serve_options", multiple=True, metavar="'--X Y'", help="Handed to `septet serve`.")
@click.option("--out", type=DIRECTORY, help="Directory for results; replaces older ones.  [default: bench-DATE-TIME]")
def bench(
    app: str | None, models: str | None, users: str, expect_length: str | None, out: Path | None, **options: Any
) -> int:
    """Load every model with a ramp of users, and chart it.

    Measures APP (MODULE:ATTRIBUTE), or the guestbook that comes with Septet, on a fresh SQLite file.
    Writes results.json and the chart of requests per second over users (SVG, PNG), and prints the table.
    """
    from septet.lab import bench as benching
    from septet.lab import chart  # noqa: F401  imported now: what is missing is missed before an hour of measuring
    from septet.lab.display import display

    experiment = Experiment(
        out=out or Path(f"bench-{datetime.datetime.now():%Y-%m-%d-%H%M%S}"),
        models=benching.choose_models(models, benching.model_names()),
        users=_users(users),
        app=app or GUESTBOOK,
        path=_path(options["path"], "/" if app else GUESTBOOK_PATH),
        mode=options["mode"],
        duration_s=options["duration"],
        warmup_s=options["warmup"],
        timeout_s=options["timeout"],
        expect_length=_length(expect_length),
        serve_options=_words(options["serve_options"]),
    )
    # Whoever stops us with TERM (`timeout`, a CI runner) must not leave our server behind either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with display(experiment) as shown:
        recorded = benching.run(experiment, ["septet", *sys.argv[1:]], shown)
    return _report(recorded, experiment)


def _report(recorded: dict[str, Any], experiment: Experiment) -> int:
    from septet.lab import chart, remarks, results, tables

    cells = recorded["cells"]
    if not cells:
        raise click.Abort
    click.echo(tables.rates(recorded))
    most = max((cell["users"] for cell in cells if cell["verdict"] != "failed"), default=None)
    if most is not None:
        click.echo("\n" + tables.costs(recorded, most))
    for sentence in remarks.remarks(recorded, tables.DOUBT_MARK):
        click.echo("\n" + sentence)
    click.echo(
        "\n" + "\n".join(str(path) for path in [experiment.out / results.NAME, *chart.save(recorded, experiment.out)])
    )
    if recorded["finished"] is None:
        raise click.Abort
    if all(cell["verdict"] == "failed" for cell in cells):
        raise Failed("every cell failed")
    return 0


@click.command(
    epilog="""\b
Examples:
  septet load http://127.0.0.1:8000/
  septet load http://127.0.0.1:8000/guestbook --users 500 --duration 10 --close
  septet load http://10.0.0.7/ --header 'Accept: text/html' --json""",
)
@click.argument("url")
@click.option("--users", type=click.IntRange(min=1), default=Plan.users, show_default=True, help="Simultaneous users.")
@click.option("--duration", type=POSITIVE, default=Plan.duration_s, show_default=True, help="Seconds measured.")
@click.option(
    "--warmup", type=click.FloatRange(min=0), default=Plan.warmup_s, show_default=True, help="Seconds before."
)
@click.option("--timeout", type=POSITIVE, default=Plan.timeout_s, show_default=True, help="Seconds a request may take.")
@click.option("--keep-alive", "mode", flag_value="keep-alive", default=True, help="Users keep connections.  [default]")
@click.option("--close", "mode", flag_value="close", help="A new connection for every request.")
@click.option("--http10", "mode", flag_value="http10", help="The same in HTTP/1.0.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent with every request.")
@click.option("--expect-length", metavar="N|any", help="Body bytes of a right answer.  [default: as the first one]")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def load(url: str, expect_length: str | None, as_json: bool, **options: Any) -> int:
    """Load any server with simultaneous users.

    Each user sends the next request when the answer to the last one has come (a closed loop).
    Every answer is checked; errors are counted by kind.
    """
    from septet.lab import tables

    try:
        figures = generator.run(
            Plan(
                url=url,
                users=options["users"],
                duration_s=options["duration"],
                warmup_s=options["warmup"],
                timeout_s=options["timeout"],
                mode=options["mode"],
                headers=options["headers"],
                expect_length=_length(expect_length),
            )
        )
    except LoadError as error:
        raise UsageError(str(error)) from None
    click.echo(json.dumps(figures) if as_json else tables.load_figures(figures))
    if not figures["answers"]:
        raise Failed(f"{url} answered no request")
    return 0


def _words(options: tuple[str, ...]) -> tuple[str, ...]:
    """The words of options as a shell would split them."""
    try:
        return tuple(word for option in options for word in shlex.split(option))
    except ValueError as error:
        raise UsageError(f"--serve-option: {' '.join(options)!r} is not what a shell would accept: {error}") from None


def _users(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isascii() and word.isdigit() and int(word) for word in words):
        raise UsageError(f"--users: {text!r} is not a list of whole numbers above 0, such as 20,100,500")
    users = tuple(sorted({int(word) for word in words}))
    try:
        generator.check_limits(users[-1])
    except LoadError as error:
        raise UsageError(f"--users: {error}") from None
    return users


def _length(text: str | None) -> int | None:
    if text is None:
        return None
    if text == "any":
        return ANY_LENGTH
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"--expect-length: {text!r} is neither a number of bytes nor 'any'")
    return int(text)


def _path(text: str | None, default: str) -> str:
    if text is not None and not text.startswith("/"):
        raise UsageError(f"--path: {text!r} does not begin with /")
    return text or default
