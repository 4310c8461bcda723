"""The test suites of uvloop, anyio and aiohttp on each of our loops and on asyncio's own (`make loop-suites`).

    python3 tests/loop/foreign/run.py                                  # everything, about a quarter of an hour
    python3 tests/loop/foreign/run.py --suite anyio --loop epoll       # asyncio is the measure, and always runs

A test counts if asyncio's loop passes it: what that fails (uvloop's peculiarities, IPv6 on a machine without) is asked
of nobody. Where a loop of ours fails it three times, that is a deviation. Exit status 1 if one is not listed, with its
reason, in suites.py. The tests' own output stays in the cache, beside them (see prepare.py).
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from prepare import CACHE, PYTHON, prepare, progress, unpacked
from suites import DEVIATIONS, SUITES, UVLOOP, Suite

SHIM = Path(__file__).parent / "shim"
MEASURE = "asyncio"
LOOPS = ("poll", "epoll", "io_uring")
TEST_S, SUITE_S = 30, 1800
AGAIN = 2
"""Many of these tests judge by the clock; so often what only some of the loops fail is tried again, alone."""

Outcomes = dict[str, str]


def run(suite: Suite, loop: str, tests: tuple[str, ...] = ()) -> Outcomes:
    """What became of each test, or of `tests` alone, in a process of their own."""
    name = f"{suite.name}.{loop}" + (".again" if tests else "")
    told = CACHE / f"{name}.json"
    told.unlink(missing_ok=True)
    environment = os.environ | {
        "PYTHONPATH": str(SHIM),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SUITE_LOOP": loop,
        "SUITE_OUTCOMES": str(told),
        "SUITE_UVLOOP": str(unpacked(UVLOOP) / "uvloop"),
    }
    options = ["-q", "-oaddopts=", "-pno:cacheprovider", "-poutcomes", f"--timeout={TEST_S}", "--timeout-method=signal"]
    command = [str(PYTHON), "-m", "pytest", *options, *suite.arguments, *tests]
    log = CACHE / f"{name}.txt"
    with log.open("wb") as output:
        _run_group(command, environment, unpacked(suite) / suite.directory, output)
    if not told.exists():
        sys.exit(f"loop-suites: {suite.name} did not run on {loop}:\n{log.read_text()[-1000:]}")
    outcomes: Outcomes = json.loads(told.read_text())
    return outcomes


def _run_group(command: list[str], environment: dict[str, str], directory: Path, output: BinaryIO) -> None:
    """To its end, and with it the processes that its failed tests have left."""
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        process.wait(SUITE_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def passed(outcomes: Outcomes) -> set[str]:
    return {test for test, outcome in outcomes.items() if outcome == "passed"}


def failed(outcomes: Outcomes) -> set[str]:
    return {test for test, outcome in outcomes.items() if outcome == "failed"}


def try_again(suite: Suite, by_loop: dict[str, Outcomes]) -> None:
    """What one loop failed and another passed, for every loop alike; one success suffices."""
    passed_somewhere = set().union(*map(passed, by_loop.values()))
    for loop, outcomes in by_loop.items():
        for _ in range(AGAIN):
            doubtful = failed(outcomes) & passed_somewhere
            if doubtful:
                again = run(suite, loop, tuple(sorted(doubtful)))
                outcomes.update(dict.fromkeys(passed(again) & doubtful, "passed"))


def table(results: dict[str, dict[str, Outcomes]]) -> str:
    lines = ["| suite | loop | passed | failed | skipped | of asyncio's |", "|---|---|---|---|---|---|"]
    for suite, by_loop in results.items():
        measure = passed(by_loop[MEASURE])
        for loop, outcomes in by_loop.items():
            count = Counter(outcomes.values())
            counts = f"{count['passed']} | {count['failed']} | {count['skipped']}"
            lines.append(f"| {suite} | {loop} | {counts} | {len(measure & passed(outcomes))} of {len(measure)} |")
    return "\n".join(lines)


def deviations(results: dict[str, dict[str, Outcomes]]) -> list[tuple[str, str, str]]:
    """Suite, loop and test of what asyncio's loop passes and one of ours does not."""
    return [
        (suite, loop, test)
        for suite, by_loop in results.items()
        for loop, outcomes in by_loop.items()
        for test in sorted(passed(by_loop[MEASURE]) - passed(outcomes))
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [suite.name for suite in SUITES]
    parser.add_argument("--suite", choices=names, action="append", help="only this one; may be repeated")
    parser.add_argument("--loop", choices=LOOPS, action="append", help="only this one; may be repeated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once (default: %(default)s)")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores; tests use it
    suites = [suite for suite in SUITES if not arguments.suite or suite.name in arguments.suite]
    loops = (MEASURE, *(arguments.loop or LOOPS))
    prepare(list({UVLOOP, *suites}))  # uvloop's files complete the stand-in for it
    progress(f"running {len(suites)} suites on {', '.join(loops)}; output in {CACHE}")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        started = {suite: {loop: pool.submit(run, suite, loop) for loop in loops} for suite in suites}
    runs = {suite: {loop: future.result() for loop, future in by_loop.items()} for suite, by_loop in started.items()}
    for suite, by_loop in runs.items():
        try_again(suite, by_loop)
    results = {suite.name: by_loop for suite, by_loop in runs.items()}
    print(f"Python {platform.python_version()}, Linux {platform.release()}\n\n{table(results)}\n")
    news = 0
    for name, loop, test in deviations(results):
        reason = DEVIATIONS[name].get(test)
        news += reason is None
        print(f"{'listed' if reason else 'NEW'}: {name} on {loop}: {test}{f': {reason}' if reason else ''}")
    return 1 if news else 0


if __name__ == "__main__":
    sys.exit(main())
