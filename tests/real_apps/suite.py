"""The suite as a command: every application under every model, beside its peer, and a table at the end.

It runs in the environment that `run` has made. One job is one server with one visit; as many jobs run at once as there
are CPUs. A job of ours waits for its peer's, which has been started before.
"""

import argparse
import os
import platform
import re
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from real_apps.applications import APPLICATIONS, Application, Templates
from real_apps.comparison import differences
from real_apps.servers import PEERS, complaints_of_ours, peer, septet
from real_apps.visit import LACKS, Outcome, Site, Step, walk
from support.models import EVENT_DRIVEN, MODELS, refusal

Options = tuple[str, ...]

_LOGGED = 3
"""So many errors of a log are shown."""

VARIANTS: tuple[Options, ...] = ((), ("--threads", "4"), ("--threads", "0"))
"""Under the loops a WSGI application runs where `--threads` says; the first is the default."""


@dataclass(frozen=True)
class Visited:
    """What a visit to one server has shown; `problem` when there was no server to visit, or it did not end well."""

    outcomes: tuple[Outcome, ...]
    log: str
    problem: str = ""


@dataclass
class Result:
    """One cell of the table, with what there is to say about it."""

    application: Application
    model: str
    options: Options
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    excepted: list[Step] = field(default_factory=list)

    @property
    def name(self) -> str:
        return " ".join((self.application.name, "under", self.model, *self.options))

    @property
    def cell(self) -> str:
        return "FAIL" if self.problems else "ok*" if self.excepted else "ok"


class Suite:
    """The jobs; `common` are options for every server of ours."""

    def __init__(self, templates: Templates, common: Options) -> None:
        self._templates = templates
        self._common = common

    def visit_peer(self, application: Application) -> Visited:
        with self._directory(application) as directory:
            try:
                with peer(application, directory) as server:
                    outcomes = walk(application.steps, Site(server.url, directory))
                    return Visited(tuple(outcomes), server.log())
            except AssertionError as error:
                return Visited((), "", str(error))

    def visit_ours(self, result: Result, peers: "Future[Visited]") -> Result:
        started = time.monotonic()
        application, model = result.application, result.model
        result.excepted = [step for step in application.steps if step.excepted(model)]
        steps = [step for step in application.steps if not step.excepted(model)]
        outcomes: list[Outcome] = []
        log = ""
        with self._directory(application) as directory:
            try:
                with septet(application, model, (*result.options, *self._common), directory) as server:
                    try:
                        outcomes = walk(steps, Site(server.url, directory))
                    finally:
                        log = server.log()
            except AssertionError as error:
                result.problems.append(f"the server: {_brief(str(error))}")
        took = time.monotonic() - started
        _judge(result, Visited(tuple(outcomes), log), peers.result())
        progress(f"{result.name}: {result.cell} ({took:.1f} s)")
        return result

    @contextmanager
    def _directory(self, application: Application) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="real-apps-") as directory:
            self._templates.copy(application, Path(directory))
            yield Path(directory)


def _judge(result: Result, ours: Visited, theirs: Visited) -> None:
    """What our visit has shown against the peer's. A step that fails at the peer, too, is a defect of the suite."""
    peer_name = PEERS[result.application.interface]
    peers = {outcome.step.name: outcome for outcome in theirs.outcomes}
    if theirs.problem:
        result.problems.append(f"{peer_name} does not serve it: {_brief(theirs.problem)}")
    for outcome in ours.outcomes:
        name = outcome.step.name
        if outcome.problem:
            result.problems.append(f"{name}: {outcome.problem}")
        if name not in peers:
            continue
        if peers[name].problem:
            result.problems.append(f"{name}: fails under {peer_name}: {peers[name].problem}")
        elif not outcome.problem:
            found = differences(outcome.observations, peers[name].observations, result.application.scrub)
            result.problems += [f"{name}: {text}" for text, remark in found if not remark]
            # Which answer it is does not matter, and it tends to be so under each model.
            result.remarks += [text.rpartition(": ")[2] for text, remark in found if remark]
    errors = [_brief(text) for text in complaints_of_ours(ours.log, theirs.log)]
    if errors:
        more = f" (and {len(errors) - _LOGGED} more)" if len(errors) > _LOGGED else ""
        result.problems.append(f"in the log: {'; '.join(errors[:_LOGGED])}{more}")
    result.problems = list(dict.fromkeys(result.problems))


def _brief(text: str) -> str:
    """One line with both ends: the last of a log says why."""
    text = re.sub(r"^\[.*?\] ", "", " ".join(text.split()))  # the server's command
    return text if len(text) <= 300 else f"{text[:100]} ... {text[-200:]}"


def planned(applications: Sequence[Application], models: Sequence[str], variants: bool) -> list[Result]:
    """What is to be run."""
    return [
        Result(application, model, options)
        for application in applications
        for options in (VARIANTS if variants and application.interface == "wsgi" else VARIANTS[:1])
        for model in models
        if not options or model in EVENT_DRIVEN
    ]


def run(suite: Suite, results: list[Result], jobs: int) -> None:
    peers: dict[str, Future[Visited]] = {}
    running = []
    pool = ThreadPoolExecutor(jobs)
    try:
        for result in results:
            name = result.application.name
            if name not in peers:
                peers[name] = pool.submit(suite.visit_peer, result.application)
            running.append(pool.submit(suite.visit_ours, result, peers[name]))
        for future in running:
            future.result()
    finally:  # when it is interrupted, the visits that have begun come to their end, and stop their servers
        pool.shutdown(cancel_futures=True)


def table(results: Sequence[Result], models: Sequence[str]) -> str:
    rows: dict[str, dict[str, str]] = {}
    for result in results:
        rows.setdefault(" ".join((result.application.name, *result.options)), {})[result.model] = result.cell
    width = max(map(len, rows)) + 2
    lines = ["".join((" " * width, *(f"{model:13}" for model in models)))]
    for name, cells in rows.items():
        lines.append("".join((name.ljust(width), *(f"{cells.get(model, '-'):13}" for model in models))))
    return "\n".join(line.rstrip() for line in lines)


def notes(results: Sequence[Result]) -> str:
    """What the cells stand for: failures with their reasons, remarks, and what was left out and why."""
    failures: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for problem in result.problems:
            where = " ".join((result.model, *result.options))
            failures.setdefault((result.application.name, problem), []).append(where)
    lines = [f"FAIL {name} under {', '.join(places)}: {problem}" for (name, problem), places in failures.items()]
    remarks = Counter(f"{result.application.name}: {remark}" for result in results for remark in result.remarks)
    lines += [f"remark: {remark}, {count} times" for remark, count in remarks.items()]
    left_out = {
        f"*: {result.application.name} under {', '.join(model for model in LACKS if step.excepted(model))} without "
        f'"{step.name}": {step.reason}'
        for result in results
        for step in result.excepted
    }
    return "\n".join(lines + sorted(left_out))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description=(__doc__ or "").partition("\n")[0])
    names = [application.name for application in APPLICATIONS]
    only_help = f"applications whose name begins so; repeatable: {', '.join(names)}"
    parser.add_argument("--only", action="append", metavar="APP", help=only_help)
    parser.add_argument("--models", default=",".join(MODELS), help="separated by commas (default: %(default)s)")
    parser.add_argument(
        "--serve-option",
        action="append",
        default=[],
        metavar="OPTIONS",
        help="options for each `septet serve`, as in '--threads 4'; repeatable. The loops' variants are left out then",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="servers at once (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.models = arguments.models.split(",")
    for model in arguments.models:
        if model not in MODELS:
            parser.error(f"no such model: {model}; there are {', '.join(MODELS)}")
    only = tuple(arguments.only or names)
    arguments.applications = [application for application in APPLICATIONS if application.name.startswith(only)]
    if not arguments.applications:
        parser.error(f"no application's name begins with {' or '.join(only)}; there are {', '.join(names)}")
    return arguments


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = parse()
    common = tuple(word for options in arguments.serve_option for word in shlex.split(options))
    models = arguments.models
    refused = {model: reason for model in models if (reason := refusal(model)) is not None}
    models = [model for model in models if model not in refused]
    results = planned(arguments.applications, models, variants=not common)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="real-apps-templates-") as directory:
        templates = Templates(Path(directory))
        progress(f"preparing {len(arguments.applications)} applications; then {len(results)} visits")
        templates.make(arguments.applications)
        run(Suite(templates, common), results, arguments.jobs)
    failed = sum(bool(result.problems) for result in results)
    print(f"\nPython {platform.python_version()}, Linux {platform.release()}\n\n{table(results, models)}\n")
    print(notes(results))
    for model, reason in refused.items():
        print(f"not run: {model}, which is refused here: {reason}")
    print(f"{len(results) - failed} of {len(results)} visits without a fault, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


def progress(text: str) -> None:
    """In one write, for the jobs are threads."""
    sys.stderr.write(f"apps: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
