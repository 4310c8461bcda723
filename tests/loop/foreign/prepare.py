"""Where the suites come from and what they run in: source distributions and an environment, in the user's cache.

In ~/.cache/septet/loop-suites: `uvloop-0.23.0.tar.gz`, what pip has downloaded; `uvloop-0.23.0/`, of that the tests;
`python3.11.7/`, the environment. To begin anew, remove them.
"""

import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path

from suites import Suite

CHECKOUT = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "septet" / "loop-suites"
ENVIRONMENT = CACHE / f"python{platform.python_version()}"
PYTHON = ENVIRONMENT / "bin" / "python"
RUNNER = ("pytest>=8", "pytest-timeout>=2.3")


def prepare(suites: list[Suite]) -> None:
    """Have everything there; what is there already is not fetched again, but Septet is installed anew if it moved.

    Raises:
        SystemExit: something cannot be had; the sentence says what.
    """
    if not PYTHON.exists():
        progress(f"making {ENVIRONMENT}")
        _run(sys.executable, "-m", "venv", str(ENVIRONMENT))
    wanted = {*RUNNER, *(need for suite in suites for need in suite.needs)}
    # Not uvloop itself: ours stands in for it.
    wanted |= {f"{suite.name}=={suite.version}" for suite in suites if suite.name != "uvloop"}
    progress("installing what the suites need")
    _pip("install", "--editable", str(CHECKOUT), *sorted(wanted))
    for suite in suites:
        if not unpacked(suite).exists():
            _fetch(suite)


def unpacked(suite: Suite) -> Path:
    return CACHE / f"{suite.name}-{suite.version}"


def _fetch(suite: Suite) -> None:
    progress(f"fetching {suite.name} {suite.version}")
    requirement = f"{suite.name}=={suite.version}"
    _pip("download", "--no-deps", f"--no-binary={suite.name}", f"--dest={CACHE}", requirement)
    stem = unpacked(suite).name
    with tarfile.open(CACHE / f"{stem}.tar.gz") as archive:
        wanted = tuple(f"{stem}/{name}" for name in suite.files)
        members = [member for member in archive if member.name.startswith(wanted)]
        archive.extractall(CACHE, members, filter="data")


def _pip(*arguments: str) -> None:
    _run(str(PYTHON), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"loop-suites: {' '.join(command)[:200]} failed:\n{(done.stderr or done.stdout)[-2000:]}")


def progress(text: str) -> None:
    print(f"loop-suites: {text}", file=sys.stderr, flush=True)
