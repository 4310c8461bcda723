"""Run the fuzz targets for a while: `python fuzz/run.py SECONDS [TARGET ...]`; `make fuzz` does it for five minutes.

What was found to be interesting is kept in `.fuzz/` and is where the next run begins, with the cases of the corpus.
Exit status 1: a law was broken, or nothing was run, since there is no atheris for this Python (it has wheels for Linux
on x86_64). The input that broke it lies in `.fuzz/`, and its name is in the output.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
KEPT = HERE.parent / ".fuzz"
SHARES = {"session": 0.4, "answer": 0.1, "proxy": 0.1, "tls": 0.1, "websocket": 0.1, "http2": 0.2}
"""Of the time, by target."""
MOST_BYTES = 1024
"""Of an input: requests are short, and the limits of `support.laws` are shorter."""

sys.path.insert(0, str(HERE.parent / "tests"))


def main(seconds: float, targets: list[str]) -> int:
    if importlib.util.find_spec("atheris") is None:
        print(f"NOT FUZZED: there is no atheris for {sys.executable}: pip install atheris", file=sys.stderr)
        return 1
    whole = sum(SHARES[target] for target in targets)
    return max(fuzz(target, round(seconds * SHARES[target] / whole)) for target in targets)


def fuzz(target: str, seconds: int) -> int:
    """Run one target for so long; its exit status."""
    found, seeds = KEPT / target, KEPT / "seeds"
    found.mkdir(parents=True, exist_ok=True)
    write_seeds(seeds)
    print(f"fuzz_{target}: {seconds} s", flush=True)
    options = [f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", "-timeout=10", "-rss_limit_mb=1024"]
    options += [
        "-verbosity=0",
        "-print_final_stats=1",
        f"-dict={HERE / 'http.dict'}",
        f"-artifact_prefix={KEPT}/{target}-",
    ]
    command = [sys.executable, str(HERE / f"fuzz_{target}.py"), *options, str(found), str(seeds)]
    return subprocess.run(command, check=False).returncode


def write_seeds(directory: Path) -> None:
    """The cases of the corpus, each a file."""
    from corpus.cases import CASES

    directory.mkdir(exist_ok=True)
    for number, case in enumerate(CASES):
        if len(case.data) <= MOST_BYTES:
            (directory / f"{number:03}").write_bytes(case.data)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:] or list(SHARES)))
