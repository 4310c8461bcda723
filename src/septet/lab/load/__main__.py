"""`python3 -m load URL ...`: prints every event as a line of JSON; the last line holds the figures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .plan import ARRIVALS, MODES, THINK_TIMES, LoadError, Plan, merged, read_authorities
from .processes import refuse, run, run_worker_process, say
from .scenario import read

NUMBERS: dict[str, tuple[type, str]] = {
    "users": (int, "simultaneous users; with a rate: the most requests under way"),
    "rate": (float, "requests due in a second (default: each user at once after the answer)"),
    "duration_s": (float, "seconds measured"),
    "arrival_max_s": (float, "seconds after which the warm-up begins, even if some users have not arrived"),
    "warmup_s": (float, "seconds of warm-up, not counted"),
    "warmup_max_s": (float, "warm up until the rate is steady, at most this many seconds"),
    "ramp_s": (float, "seconds in which the load grows to its whole, not counted"),
    "think_s": (float, "without a rate: seconds between an answer and the next request"),
    "slow": (int, "clients beside the users that send and read slowly"),
    "slow_rate": (int, "bytes per second of a slow client"),
    "streams": (int, "HTTP/2: users that share a connection, each as one stream of it (0: HTTP/1.1)"),
    "timeout_s": (float, "seconds that a request may take"),
    "message_size": (int, "ws: bytes of a message, if there is no body"),
    "requests_per_connection": (int, "then the user takes a new connection"),
    "visits": (int, "record the instants of so many requests of each process"),
    "expect_length": (int, "bytes of a right body; -1: any (default: as the first two answers)"),
}


def main() -> int:
    """Load a server as the command line says. Returns the exit status: 0, or 2 after printing the event "refused",
    which says why the plan cannot be carried out.
    """
    options = vars(_parser().parse_args())
    if options.pop("worker_process"):
        return run_worker_process()
    if options.pop("plans"):
        return run_plans()
    try:
        say("figures", run(_plan(options), say))
    except LoadError as error:
        refuse(error)
        return 2
    return 0


def run_plans() -> int:
    """Read plans from standard input, one in each line as JSON, and carry them out one after the other. For a plan that
    cannot be carried out the event "refused" is printed, and the next plan is read. Returns the exit status 0.

    Starting Python anew for each plan would take a tenth of a second of CPU time, which is much if a plan lasts a third
    of a second.
    """
    for line in sys.stdin:
        try:
            say("figures", run(Plan.from_values(json.loads(line)), say))
        except LoadError as error:
            refuse(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="load", description="HTTP load generator; writes JSON lines.")
    parser.add_argument("url", nargs="?", default="")
    for name, (kind, help) in NUMBERS.items():
        option = "--" + name.removesuffix("_s").replace("_", "-")
        parser.add_argument(option, type=kind, default=getattr(Plan, name), dest=name, help=help)
    parser.add_argument("--mode", choices=MODES, default=Plan.mode)
    parser.add_argument("--arrivals", choices=ARRIVALS, default=Plan.arrivals)
    parser.add_argument("--think-times", choices=THINK_TIMES, default=Plan.think_times)
    parser.add_argument("--seconds", action="store_true", help="tell what was counted in each second")
    parser.add_argument("--method", default=Plan.method)
    parser.add_argument("--header", action="append", default=[], dest="headers", metavar="'NAME: VALUE'")
    parser.add_argument("--body", default=Plan.body)
    parser.add_argument("--binary", action="store_true", help="ws: messages are binary")
    parser.add_argument("--scenario", type=Path, help="a TOML file of targets")
    parser.add_argument("--cookies", action="store_true", help="users keep what Set-Cookie gives them")
    parser.add_argument("--ca", type=Path, help="https: a PEM file of the authorities to trust")
    parser.add_argument("--insecure", action="store_true", help="https: take any certificate")
    parser.add_argument("--cpus", default="", help="one process on each of these CPUs, such as 2,3")
    parser.add_argument("--overflow", action="store_true", help="let the listener's queue overflow")
    parser.add_argument("--plans", action="store_true", help="read plans from standard input, one a line of JSON")
    parser.add_argument("--worker-process", action="store_true", help=argparse.SUPPRESS)
    return parser


def _plan(options: dict[str, Any]) -> Plan:
    scenario = options.pop("scenario")
    if scenario is not None:
        values = read(scenario)
        values["headers"] = merged(values["headers"], tuple(options.pop("headers")))
        values["cookies"] = values["cookies"] or options.pop("cookies")
        options = {**options, **values}
    options["ca"] = read_authorities(options["ca"]) if options["ca"] else ""
    try:
        options["cpus"] = tuple(int(cpu) for cpu in options["cpus"].split(",") if cpu)
    except ValueError:
        raise LoadError(f"CPUs are written as 2,3, not {options['cpus']!r}") from None
    return Plan(**{**options, "headers": tuple(options["headers"])})


if __name__ == "__main__":
    sys.exit(main())
