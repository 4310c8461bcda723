"""Septet and its peers side by side, in one interleaved run (`make bench-peers`).

    python3 benchmarks/peers.py                                 # everything, about two hours
    python3 benchmarks/peers.py --scenario wsgi-hello --quick   # an impression, a minute
    python3 benchmarks/peers.py --only "septet epoll" --only bjoern

Each round visits all servers of a scenario in random order, so that a change in the machine's mood meets all of them;
the median of the rounds is what counts. Needs Linux, two CPUs, and the standard library; what else it needs (the
peers, nginx, wrk) it installs by itself where it may. See README.md beside this file.
"""

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import environment
from apps import file_content
from contenders import CERTIFICATE, KEY
from environment import Unavailable, progress
from measure import WARM_UP_S, Bench, figures, measure
from record import Record
from report import block_text, budget_text, scenario_text
from results import Outcome, Row
from scenario import KIB, Scenario
from scenarios import SCENARIOS
from servers import BlockFailed

RESULTS = environment.HERE / "results"
CONTROL_S = 1.0  # to start and stop a server, for the estimate of the time a run takes


def main() -> int:
    options = parse(sys.argv[1:])
    scenarios = [scenario for scenario in SCENARIOS if not options.scenario or scenario.name in options.scenario]
    if options.list:
        print("\n".join(f"{s.name:16}{s.title}: {', '.join(c.name for c in s.contenders)}" for s in scenarios))
        return 0
    try:
        cpus = prepare_machine()
        outcomes = prepare_servers(scenarios, options.only)
    except Unavailable as problem:
        print(f"bench-peers: {problem}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="bench-peers-files-") as files:
        write_files(Path(files))
        if any(scenario.tls for scenario in scenarios):
            write_certificate(Path(files))
        run(outcomes, Bench(options.duration, *cpus, Path(files)), options)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="visits to each server (default: 5)")
    parser.add_argument("--duration", type=int, default=5, metavar="S", help="seconds of load a visit (default: 5)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 s: an impression, not a measurement")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--scenario", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument("--only", action="append", metavar="NAME", help="only servers whose name begins so; repeatable")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the order of the visits")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the results (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="show the scenarios and end")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.duration = 2, 2
    if options.rounds < 1 or options.duration < 1:
        parser.error("--rounds and --duration must be 1 or more")
    return options


def prepare_machine() -> tuple[int, int]:
    """Tools, open files for the largest scenario, and a CPU each for the server and for the generator.

    Raises:
        Unavailable: a tool is missing, or there is only one CPU.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise Unavailable("two CPUs are needed, one for the server and one for the load generator")
    environment.program("taskset", "util-linux")
    environment.program("wrk")
    environment.create()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return usable[0], usable[-1]


def prepare_servers(scenarios: Sequence[Scenario], only: Sequence[str] | None) -> list[Outcome]:
    """Install every server that takes part, once; one that cannot be had keeps its row, with the reason."""
    known: dict[tuple[str, ...], tuple[str, str]] = {}

    def installed(packages: tuple[str, ...], needs: str = "") -> tuple[str, str]:
        parts = (*packages, needs)
        if parts not in known:
            known[parts] = install(packages, needs)
        return known[parts]

    outcomes = []
    for scenario in scenarios:
        wanted = [c for c in scenario.contenders if not only or any(c.name.startswith(name) for name in only)]
        rows = [Row(contender, *installed(contender.packages, contender.needs)) for contender in wanted]
        version, problem = installed(scenario.packages) if scenario.packages and rows else ("", "")
        for row in rows:
            row.problem = row.problem or problem
        outcomes.append(Outcome(scenario, rows, f"{scenario.packages[0]} {version}" if version else ""))
    return outcomes


def install(packages: Sequence[str], needs: str) -> tuple[str, str]:
    """The version of the first package or of the program, and an empty string; or nothing and the reason why not."""
    try:
        if needs:
            return environment.program_version(needs), ""
        versions = [environment.install(package) for package in packages]
    except Unavailable as problem:
        return "", f"not installed: {problem}"
    return versions[0], ""


def write_files(directory: Path) -> None:
    """The document root of the static scenarios. nginx's workers run as another user and must be able to read it."""
    directory.chmod(0o755)
    (directory / "4k.bin").write_bytes(file_content(4 * KIB))
    (directory / "1m.bin").write_bytes(file_content(KIB * KIB))


def write_certificate(directory: Path) -> None:
    """A certificate and a key for the scenarios over TLS: ECDSA on P-256, as most servers have."""
    command = [environment.program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-nodes", "-keyout", str(directory / KEY), "-out", str(directory / CERTIFICATE)]
    environment.run(*command, *files, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "30")


def run(outcomes: Sequence[Outcome], bench: Bench, options: argparse.Namespace) -> None:
    """Measure scenario after scenario; the results are written after each, so that an interruption loses one."""
    # A request to end is taken like Ctrl-C: the server that runs is ended, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    record = Record.begin(options)
    chance = random.Random(options.seed)
    progress(f"seed {options.seed}; about {estimate(outcomes, options.rounds, options.duration)}")
    done: list[Outcome] = []
    try:
        for outcome in outcomes:
            prepare_scenario(outcome, bench)
            run_scenario(outcome, bench, options.rounds, chance)
            done.append(outcome)
            print(f"\n{scenario_text(outcome)}", flush=True)
            record.write(done)
    except KeyboardInterrupt:
        progress("interrupted; the scenarios that were finished are kept")
    if done:
        print(f"\n{budget_text(done)}\n\n{record.path}.md\n{record.path}.json")


def prepare_scenario(outcome: Outcome, bench: Bench) -> None:
    """Make what the scenario's application needs, such as a database; without it no server of it is visited."""
    script = outcome.scenario.prepare
    if not script or all(row.problem for row in outcome.rows):
        return
    try:
        environment.run(str(environment.BIN / "python"), str(environment.HERE / script), str(bench.files))
    except Unavailable as problem:
        for row in outcome.rows:
            row.problem = row.problem or f"{script} failed: {problem}"


def estimate(outcomes: Sequence[Outcome], rounds: int, duration_s: int) -> str:
    visits = [
        duration_s * outcome.scenario.stretch + WARM_UP_S + CONTROL_S
        for outcome in outcomes
        for row in outcome.rows
        if not row.problem
    ]
    return f"{rounds * sum(visits) / 60:.0f} minutes for {rounds * len(visits)} visits"


def run_scenario(outcome: Outcome, bench: Bench, rounds: int, chance: random.Random) -> None:
    """Visit the servers `rounds` times. One that fails is not visited again: its row says why."""
    for number in range(1, rounds + 1):
        for row in chance.sample(outcome.rows, len(outcome.rows)):
            if row.problem:
                continue
            try:
                row.blocks.append(measure(bench, outcome.scenario, row.contender) | {"round": number})
                said = block_text(figures(row.blocks[-1]))
            except BlockFailed as problem:
                row.problem = said = str(problem)
            progress(f"{outcome.scenario.name}, round {number} of {rounds}: {row.contender.name}: {said}")


if __name__ == "__main__":
    sys.exit(main())
