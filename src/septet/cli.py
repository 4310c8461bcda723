"""The command `septet`: one function for each verb, which calls the module that does the work."""

import json
import os
import platform
import sys
from typing import Any

import click

from septet import __version__, interpreter, streams
from septet import models as process_models
from septet.settings import sources
from septet.settings.checks import check_serves_something
from septet.settings.command import LateCommand, ServeCommand, Verbs, config_parameters, run, typed


def main() -> None:
    """The console entry point. Exits with 0, 1 (failed) or 2 (usage); an error is one sentence on standard error."""
    streams.secure()
    sys.exit(run(septet, sys.argv[1:]))


@click.group(
    name="septet",
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  septet serve shop.web:app --model epoll --workers 4
  septet models
  septet bench shop.web:app --users 20,100,500

`septet VERB --help` describes each verb.""",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def septet(context: click.Context) -> None:
    """A web server in which the Linux process model is a switch, with a laboratory that measures it."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


@septet.command(
    cls=ServeCommand,
    params=config_parameters(),
    epilog="""\b
Examples:
  septet serve shop.web:app
  septet serve shop.web:make_app --factory --model prethreaded --threads 32
  septet serve shop.web:app --bind 0.0.0.0:80 --bind unix:/run/shop.sock --workers 4
  septet serve --static /=public
  septet serve shop.web:app --check

Every option is also a variable (SEPTET_LIMIT_BODY) and a key of septet.toml or of [tool.septet] in
pyproject.toml (limit_body). The command line overrides the environment, which overrides the file.""",
)
@click.option(
    "--config", "file", metavar="FILE", envvar="SEPTET_CONFIG", help="Read this file in place of septet.toml."
)
@click.option("--check", is_flag=True, help="Say what would be served, or what is wrong, and exit. Nothing is bound.")
@click.option("--print-config", is_flag=True, help="Print the configuration with the source of each value, and exit.")
@click.pass_context
def serve(context: click.Context, /, file: str | None, check: bool, print_config: bool, **_: Any) -> int:
    """Serve APP (a WSGI or ASGI application, MODULE:ATTRIBUTE), static files, or both.

    Stops on TERM or INT when the requests in flight are answered; on a second signal at once.
    """
    resolved = sources.resolve(typed(context), os.environ, file)
    if print_config:
        click.echo(sources.as_toml(resolved), nl=False)
        for warning in resolved.warnings:
            click.echo(f"septet: {warning}", err=True)
        return 0
    check_serves_something(resolved.config)
    if check:
        from septet import dry_run

        return dry_run.check(resolved.config, resolved.warnings)
    from septet import server

    given = typed(context)
    return server.serve(resolved.config, resolved.warnings, lambda: sources.resolve(given, os.environ, file))


@septet.command(
    epilog="""\b
Examples:
  septet models
  septet models --names | while read model; do echo "$model"; done""",
)
@click.option("--names", is_flag=True, help="Print only the names, one on each line.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known of each model as JSON.")
def models(names: bool, as_json: bool) -> None:
    """List the process models, and say which of them this machine can run, and whether this Python has a GIL."""
    if names:
        click.echo("\n".join(process_models.names()))
        return
    if as_json:
        click.echo(json.dumps([process_models.describe(name) for name in process_models.names()], indent=1))
        return
    width = max(map(len, process_models.names()))
    for name in process_models.names():
        obstacle = process_models.obstacle(name)
        click.echo(f"{name:<{width}}  {'no ' if obstacle else 'yes'}  {process_models.description(name)}")
        if obstacle:
            click.echo(f"{'':<{width}}       {obstacle}")
    click.echo(f"\nThis Python ({platform.python_version()}) {interpreter.gil_state()}.")


septet.add_command(
    LateCommand("bench", "septet.lab.bench_command", "Load every model with rising numbers of users, and draw charts.")
)
septet.add_command(LateCommand("report", "septet.lab.report.command", "Draw the results of bench again."))
septet.add_command(LateCommand("load", "septet.lab.load_command", "Load any server with simultaneous users."))
septet.add_command(
    LateCommand("trace", "septet.lab.trace.command", "Draw which threads run, which wait, and for what.")
)
septet.add_command(
    LateCommand(
        "advise",
        "septet.lab.advise.command",
        "Find the model, and the numbers of workers and threads, for a latency target.",
    )
)
septet.add_command(LateCommand("compare", "septet.lab.compare.command", "Compare two results of bench, cell by cell."))
septet.add_command(LateCommand("status", "septet.console.commands", "Say how busy a running server is."))
septet.add_command(LateCommand("top", "septet.console.commands", "Show that again and again."))
septet.add_command(LateCommand("control", "septet.console.commands", "Give a running server an order."))
septet.add_command(LateCommand("config", "septet.settings.schema", "Print the JSON Schema of septet.toml."))
septet.add_command(
    LateCommand("certificate", "septet.certificate", "Make a certificate for development, signed by itself.")
)
septet.add_command(
    LateCommand("migrate", "septet.migrate.command", "Print another server's settings as a septet.toml.")
)
