"""`septet status`, `septet top` and `septet control`: the verbs that show and control a running server from a
terminal.
"""

import json
import sys
from typing import Any

import click

from septet.console.ask import WHERE, Asked
from septet.console.words import lines, printable, requests_in_flight
from septet.errors import Failed, UsageError
from septet.settings.options import did_you_mean

ORDERS = ("stop", "reload", "upgrade", "reopen", "more", "fewer")


def _given(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    if not value:
        where = "the path of a control socket (--control)" if context.info_name == "control" else WHERE
        raise UsageError(f"WHERE is missing, but must be {where}; or set SEPTET_CONTROL")
    return value


def _known(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    if value not in ORDERS:
        said = "missing" if value is None else repr(value)
        raise UsageError(f"ORDER is {said}, but must be one of {', '.join(ORDERS)}{did_you_mean(value or '', ORDERS)}")
    return value


_where = click.argument("where", metavar="WHERE", envvar="SEPTET_CONTROL", required=False, callback=_given)


@click.command(
    epilog="""\b
Examples:
  septet status /run/shop.sock
  septet status /run/shop.sock --requests
  septet status 127.0.0.1:9000 --json | jq .saturation""",
)
@_where
@click.option("--requests", is_flag=True, help="Print only the requests in flight, the oldest first.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as JSON.")
def status(where: str, requests: bool, as_json: bool) -> None:
    """Say how busy a running server is.

    WHERE is the path of its control socket (--control), or HOST:PORT of its metrics (--metrics-bind); without it,
    SEPTET_CONTROL.
    """
    found = Asked(where).status()
    if as_json:
        click.echo(json.dumps(found["running"] if requests else found, indent=1))
        return
    for line in requests_in_flight(found) if requests else lines(found):
        click.echo(line)


@click.command(
    epilog="""\b
Examples:
  septet top /run/shop.sock
  septet top 127.0.0.1:9000 --interval 0.5""",
)
@_where
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 60),
    default=1.0,
    metavar="SECONDS",
    show_default=True,
    help="Time between two looks.",
)
def top(where: str, interval: float) -> None:
    """Show how busy a running server is, again and again, until q or Ctrl-C.

    WHERE is the path of its control socket (--control), or HOST:PORT of its metrics (--metrics-bind); without it,
    SEPTET_CONTROL. Into a file or a pipe it prints what septet status prints, once.
    """
    asked = Asked(where)
    if not sys.stdout.isatty():
        for line in lines(asked.status()):
            click.echo(line)
        return
    from septet.console.top import Top, keys, quits_within  # needs rich

    with keys(), Top(asked.status()) as shown:
        while not quits_within(interval):
            shown.show(_status_or_why_not(asked))


def _status_or_why_not(asked: Asked) -> dict[str, Any] | str:
    try:
        return asked.status()
    except Failed as error:
        return str(error)


@click.command(
    epilog="""\b
Examples:
  septet control reload /run/shop.sock
  septet control upgrade /run/shop.sock --timeout 300
  septet control more /run/shop.sock""",
)
@click.argument("order", metavar="ORDER", required=False, callback=_known)
@_where
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=60.0,
    metavar="SECONDS",
    show_default=True,
    help="Most time to wait for the end of reload or upgrade; 0: not at all.",
)
def control(order: str, where: str, timeout: float) -> None:
    """Give a running server an order, which means the same as a signal.

    WHERE is the path of its control socket (--control); without it, SEPTET_CONTROL. ORDER is one of:

    \b
    stop     when the requests in flight are answered (TERM)
    reload   load configuration and application anew (HUP)
    upgrade  replace the program (USR2)
    reopen   open log files anew (USR1)
    more     one worker more (TTIN)
    fewer    one worker fewer (TTOU)

    reload and upgrade wait for the outcome and print it. If the application cannot be loaded, the server goes on as it
    was, and the exit status is 1.
    """
    asked = Asked(where)
    number = asked.order(order)
    if number is None or not timeout:
        return
    outcome = asked.outcome(number, timeout)
    if outcome is None:
        raise Failed(f"the {order} has not ended after {timeout:g} s (--timeout); septet status will say how it ends")
    text = printable(outcome["text"])
    if outcome["failed"]:
        raise Failed(f"the {order} failed: {text}")
    click.echo(text)
