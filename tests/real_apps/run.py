"""Real applications under every model, beside gunicorn and uvicorn (`make apps`).

    python3 tests/real_apps/run.py                                       # everything
    python3 tests/real_apps/run.py --only django --models epoll,threaded
    python3 tests/real_apps/run.py --only flask --models poll,epoll,io_uring --serve-option '--threads 4'

Each application (see applications.py) is served by a real process and visited by its own kind of client. A visit must
go well in itself, its answers must be the peer's field by field, the log must have no error that the peer's has not,
and the server must end in time when it is told to. Exit status 1 if something fails.

This file makes the environment, in ~/.cache/septet/apps (to begin anew, remove it), and runs the suite in there, with
Septet from this checkout.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
REQUIREMENTS = HERE / "requirements.txt"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "septet" / "apps"
ENVIRONMENT = CACHE / f"python{platform.python_version()}"
PYTHON = ENVIRONMENT / "bin" / "python"
INSTALLED = ENVIRONMENT / "requirements.txt"
"""A copy of the requirements, written when all of them are there."""


def prepare() -> None:
    """Have the environment as requirements.txt wants it; what is there already is not fetched again.

    Raises:
        SystemExit: something cannot be had; the sentence says what.
    """
    wanted = REQUIREMENTS.read_text()
    if INSTALLED.exists() and INSTALLED.read_text() == wanted:
        return
    if not PYTHON.exists():
        _run(sys.executable, "-m", "venv", str(ENVIRONMENT))
    print(f"apps: installing the applications into {ENVIRONMENT}; a minute or two", file=sys.stderr, flush=True)
    _run(str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS))
    INSTALLED.write_text(wanted)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"apps: {' '.join(command)[:200]} failed:\n{(done.stderr or done.stdout)[-2000:]}")


def main() -> None:
    prepare()
    path = os.pathsep.join((str(CHECKOUT / "src"), str(CHECKOUT / "tests")))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    os.execve(PYTHON, [str(PYTHON), "-m", "real_apps.suite", *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
