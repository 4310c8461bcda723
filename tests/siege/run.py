"""A siege: every process model is attacked in every way we know, one after the other (`make siege`).

Beside each attack two well-behaved clients must get every answer. Afterwards the server must still run, answer at
once, have given back descriptors, threads, processes and memory, have logged no exception of its own, and end within a
second. Everything stays on the loopback interface, and within --seconds or so. The failures are repeated at the end;
the exit status is 1 if there are any.
"""

import argparse
import json
import os
import resource
import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import product
from pathlib import Path
from time import monotonic
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from siege import memory
from siege.attacks import ATTACKS, BY_NAME, Attack
from siege.trial import Outcome, Settings, besiege
from support.models import INTERFACES, MODELS, refusal

EXAMPLES = """examples:
  python tests/siege/run.py                                    # everything, in fifteen minutes
  python tests/siege/run.py --list
  python tests/siege/run.py --models epoll,io_uring --attacks resets,idle
  python tests/siege/run.py --seconds 120 --scale 0.1          # a short form
  python tests/siege/run.py --memory 200000                    # 200,000 mixed requests for each of four models
  make siege SIEGE_ARGS="--models threaded --json siege.ndjson"
"""

LEAST_S = 1.0
"""For one attack, however many there are."""

OVERHEAD_S = 2.0
"""To start the server, to look at it before and after, and to end it."""

DESCRIPTORS = 16_000
"""Of ours and of the server's: 12,000 idle connections, and room."""


class Cell(NamedTuple):
    attack: Attack
    model: str
    interface: str


def main() -> int:
    options = parse(sys.argv[1:])
    if options.list:
        for attack in ATTACKS:
            print(f"{attack.name:<18}{attack.about}")
        return 0
    models = [model for model in options.models if not refused(model)]
    raise_limit()
    os.environ["CONTRACT_START"] = "exec"  # for a forked server, what it shares with its helper counts as memory later
    if options.memory:
        return memory.main(options.memory, [model for model in models if model in memory.MODELS], options.json)
    return campaign(cells(options.attacks, models, options.interfaces), options)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=names(MODELS), default=MODELS, help="comma-separated (default: all)")
    parser.add_argument("--attacks", type=names(BY_NAME), default=tuple(BY_NAME), help="the same (default: all)")
    parser.add_argument("--interfaces", type=names(INTERFACES), default=INTERFACES, help="wsgi, asgi (default: both)")
    parser.add_argument("--seconds", type=float, default=900.0, help="for all together (default: 900)")
    parser.add_argument("--scale", type=float, default=1.0, help="of numbers of clients and requests (default: 1)")
    parser.add_argument("--patience", type=float, default=1.0, help="multiplies the bounds of one second (default: 1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="append one JSON object for each row to this file")
    parser.add_argument("--memory", type=int, metavar="REQUESTS", help="measure memory over so many mixed requests")
    parser.add_argument("--list", action="store_true", help="list the attacks and exit")
    return parser.parse_args(arguments)


def names(known: Iterable[str]) -> "type[tuple[str, ...]]":
    """A converter of comma-separated names. Raises ArgumentTypeError, with the names that there are."""

    def convert(text: str) -> tuple[str, ...]:
        given = tuple(text.split(","))
        if unknown := [name for name in given if name not in known]:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(known)}")
        return given

    return convert  # type: ignore[return-value]


def refused(model: str) -> bool:
    reason = refusal(model)
    if reason:
        print(f"siege: {model} is left out: {reason}", file=sys.stderr)
    return reason is not None


def raise_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS), hard))


def cells(attacks: Iterable[str], models: Iterable[str], interfaces: Iterable[str]) -> list[Cell]:
    chosen = product((BY_NAME[name] for name in attacks), models)
    return [
        Cell(attack, model, interface)
        for attack, model in chosen
        if model in attack.models
        for interface in attack.interfaces(model)
        if interface in interfaces
    ]


def campaign(plan: list[Cell], options: argparse.Namespace) -> int:
    settings = Settings(options.scale, options.patience, options.seed)
    end = monotonic() + options.seconds
    print(f"siege: {len(plan)} attacks in at most {options.seconds:.0f} s or so; {os.uname().release}", flush=True)
    print(HEADING, flush=True)
    failed: list[Outcome] = []
    weight = sum(cell.attack.weight for cell in plan)
    for number, (attack, model, interface) in enumerate(plan):
        left_s = end - monotonic() - OVERHEAD_S * (len(plan) - number)
        share_s = max(LEAST_S, left_s * attack.weight / weight)
        weight -= attack.weight
        outcome = besiege(attack, model, interface, share_s, settings)
        print(f"{number + 1:>4} {row(outcome)}", flush=True)
        if outcome.failures:
            failed.append(outcome)
            print(f"       {outcome.failures[0][:200]}", flush=True)
        if options.json:
            write(options.json, asdict(outcome))
    return report(len(plan), failed)


def write(path: Path, values: dict[str, object]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(values) + "\n")


HEADING = (
    f"{'':>4} {'model':<12}{'app':<5}{'attack':<17}{'':<7}{'s':>6}{'answered':>9}{'lost':>5}{'longest':>9}"
    f"{'stop':>7}  {'memory, MB':<13}{'descriptors':<13}did"
)


def row(outcome: Outcome) -> str:
    before, after = outcome.before, outcome.after
    memory_mb = f"{before.memory / 1e6:.1f} > {after.memory / 1e6:.1f}" if before and after else ""
    descriptors = f"{before.descriptors} > {after.descriptors}" if before and after else ""
    verdict = "FAILED" if outcome.failures else "ok"
    return (
        f"{outcome.model:<12}{outcome.interface:<5}{outcome.attack:<17}{verdict:<7}{outcome.seconds:6.1f}"
        f"{outcome.answered:9}{outcome.lost:5}{outcome.longest_s:7.2f} s{outcome.stop_s:5.2f} s"
        f"  {memory_mb:<13}{descriptors:<13}{outcome.did}"
    )


def report(count: int, failed: list[Outcome]) -> int:
    print(f"siege: {count - len(failed)} of {count} attacks were withstood")
    for outcome in failed:
        print(f"\n{outcome.model} {outcome.interface}, {outcome.attack}:")
        for sentence in outcome.failures:
            print(f"  {sentence}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
