"""The verb `trace` of the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from septet.errors import Failed, UsageError
from septet.lab import arguments, interrupts, output
from septet.lab.experiment import GUESTBOOK_PATH
from septet.lab.known_models import choose_models, model_names, possible_models, tell_left_out

MODELS = "iterative,threaded,epoll"
WAYS = ("auto", "switches", "samples", "spans")


@click.command(
    epilog="""\b
Examples:
  septet trace
  septet trace shop.web:app --path /products --models prethreaded --users 8
  septet trace --models preforked --serve-option '--workers 2' --zoom 50

Writes trace.html, the pictures as SVG and PNG, and for each model a file that https://ui.perfetto.dev opens.
Exact recording needs kernel.perf_event_paranoid of 2 or less, or root; the pictures say how they were recorded.""",
)
@click.argument("app", required=False)
@click.option("--models", default=MODELS, show_default=True, metavar="A,B,...", help="Models to trace.")
@click.option("--users", type=click.IntRange(1, 1000), default=3, show_default=True, help="Simultaneous users.")
@click.option(
    "--think",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="MS",
    help="Between two requests.",
)
@click.option("--path", help=f"Path that the users request.  [default: / of APP, else {GUESTBOOK_PATH}]")
@click.option("--keep-alive", is_flag=True, help="Each user keeps one connection.  [default: one for each request]")
@click.option("--duration", type=click.FloatRange(0.01, 60), default=1.0, show_default=True, help="Seconds recorded.")
@click.option("--warmup", type=click.FloatRange(0), default=0.5, show_default=True, help="Seconds before them.")
@click.option(
    "--zoom",
    type=click.FloatRange(0.1),
    default=30.0,
    show_default=True,
    metavar="MS",
    help="Time in the zoom.",
)
@click.option("--way", type=click.Choice(WAYS), default="auto", show_default=True, help="How threads are watched.")
@click.option("--serve-option", "serve_options", multiple=True, metavar="'--X Y'", help="Options for `septet serve`.")
@click.option("--out", type=arguments.DIRECTORY, help="Directory.  [default: trace-DATE-TIME]")
def trace(app: str | None, models: str, path: str | None, zoom: float, out: Path | None, **options: Any) -> int:
    """Draw who runs and who waits, thread by thread and user by user.

    Serves APP (MODULE:ATTRIBUTE), or the guestbook that comes with Septet, under each model, to a few users, and
    records for a second every switch of every thread: running, ready but without a CPU, or blocked, and why.
    """
    from septet.lab.trace import report  # here, so that a missing package is found before anything is recorded
    from septet.lab.trace.tracing import Trace, TracePlan
    from septet.lab.trace.tracing import trace as record

    words = arguments.serve_options(options["serve_options"])
    if any(word.startswith("--tls-certificate") for word in words):
        raise UsageError("--serve-option: --tls-certificate cannot be given: the users of a trace speak plain HTTP")
    plan = TracePlan(
        app=app,
        path=arguments.path(path, "/" if app else GUESTBOOK_PATH),
        users=options["users"],
        think_s=options["think"] / 1000,
        keep_alive=options["keep_alive"],
        warmup_s=options["warmup"],
        duration_s=options["duration"],
        way=options["way"],
        serve_options=words,
    )
    chosen = choose_models(models, model_names()) if models is not None else possible_models()
    directory = output.make(out or output.dated("trace"))
    if models is None:
        tell_left_out()
    interrupts.term_as_interrupt()
    traces: list[Trace] = []
    failures: dict[str, list[str]] = {}
    for model in chosen:
        try:
            traces.append(record(plan, model, lambda line: click.echo(line, err=True)))
        except Failed as failure:
            failures.setdefault(str(failure), []).append(model)
        else:
            click.echo(f"{model}: {_outcome(traces[-1])}", err=True)
    _complain(failures, bool(traces))
    try:
        written = report.save(traces, plan, zoom, ["septet", *sys.argv[1:]], directory)
    except OSError as error:
        raise output.unwritable(directory, error) from None
    return _tell(written, traces)


def _complain(failures: dict[str, list[str]], some_traced: bool) -> None:
    """Print each reason of a failure once, with its models; `failures` has the models by reason. Raises Failed with the
    last reason if no model was traced.
    """
    sentences = [f"{', '.join(models)}: failed: {reason}" for reason, models in failures.items()]
    for sentence in sentences if some_traced else sentences[:-1]:
        click.echo(sentence, err=True)
    if not some_traced:
        raise Failed(f"no model could be traced: {sentences[-1]}")


def _outcome(traced: Any) -> str:
    from septet.lab.trace import captions

    return f"{captions.model(traced)}; {captions.method([traced.recording])}"


def _tell(written: list[Path], traces: list[Any]) -> int:
    from septet.lab.trace import report, share_table

    click.echo(share_table.text(share_table.table(traces)))
    for note in report.notes(traces):
        click.echo("\n" + note)
    click.echo("\n" + "\n".join(str(path) for path in written))
    return 0
