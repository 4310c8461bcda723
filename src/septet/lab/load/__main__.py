"""`python3 -m load URL ...`: one JSON object a line for every event; the last one holds the figures."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from .generator import run
from .plan import MODES, LoadError, Plan


def main() -> int:
    """Exit status 0, or 2 when the plan cannot be carried out (event "refused")."""
    parser = argparse.ArgumentParser(prog="load", description="Closed-loop HTTP load generator; writes JSON lines.")
    parser.add_argument("url")
    parser.add_argument("--users", type=int, default=Plan.users)
    parser.add_argument("--duration", type=float, default=Plan.duration_s, dest="duration_s", help="seconds")
    parser.add_argument("--warmup", type=float, default=Plan.warmup_s, dest="warmup_s", help="seconds, not counted")
    parser.add_argument("--mode", choices=MODES, default=Plan.mode)
    parser.add_argument("--timeout", type=float, default=Plan.timeout_s, dest="timeout_s", help="seconds a request")
    parser.add_argument("--expect-length", type=int, help="bytes; -1: any (default: the length of the first answer)")
    parser.add_argument("--header", action="append", default=[], dest="headers", metavar="'NAME: VALUE'")
    options = vars(parser.parse_args())
    options["headers"] = tuple(options["headers"])
    try:
        _say("figures", run(Plan(**options), _say))
    except LoadError as error:
        _say("refused", {"reason": str(error)})
        return 2
    return 0


def _say(event: str, details: dict[str, Any]) -> None:
    print(json.dumps({"event": event, **details}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
