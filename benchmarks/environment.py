"""The peers' environment: a virtual environment of the benchmark's own, and programs of the system.

Each peer is installed by itself, so that one that cannot be (bjoern has no wheels and needs a compiler and libev)
costs its own row and not the run. Peers come in their latest versions, which the results name. Septet is installed
from this checkout, not editable: what is measured is what a user would install.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
ENVS = HERE / ".env"
# One for each Python: what is compiled for one may not load in another, and builds differ in speed.
ENV = ENVS / f"python{platform.python_version()}"
BIN = ENV / "bin"
SEPTET = "septet"

# What a source distribution needs to compile, by the Debian packages that hold it.
BUILD_NEEDS = {"bjoern": ("libev-dev", "gcc", "libc6-dev", "python3-dev")}


class Unavailable(Exception):
    """A server or tool cannot be had on this machine; the text says why, as one sentence."""


def create() -> None:
    """Make the virtual environment unless it is there. Remove the directory to begin anew."""
    if (BIN / "python").exists():
        return
    progress(f"making {ENV}")
    run(sys.executable, "-m", "venv", str(ENV))
    (ENVS / ".gitignore").write_text("*\n")


def install_septet() -> str:
    """Install this checkout as it is now and return its version with the commit.

    Raises:
        Unavailable: it does not build or install.
    """
    progress("installing septet from this checkout")
    pip("install", str(CHECKOUT))  # pip takes a directory for new, whatever its version says
    return f"{version(SEPTET)} {commit()}".strip()


def install(package: str) -> str:
    """Install `package` from the index unless it is there, Septet from this checkout always; return its version.

    Raises:
        Unavailable: it cannot be installed.
    """
    if package == SEPTET:
        return install_septet()
    present = version(package)
    if present:
        return present
    progress(f"installing {package}")
    try:
        pip("install", package)
    except Unavailable:
        if package not in BUILD_NEEDS:
            raise
        install_debian(*BUILD_NEEDS[package])
        pip("install", package)
    return version(package)


def program(name: str, debian_package: str = "") -> str:
    """The path of a program of the system, installed by apt-get where that is possible.

    Raises:
        Unavailable: it is missing and cannot be installed.
    """
    # Debian keeps nginx in /usr/sbin, which a user's PATH does not hold.
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    if not shutil.which(name, path=path):
        install_debian(debian_package or name)
    found = shutil.which(name, path=path)
    if not found:
        raise Unavailable(f"{name} is not on this machine")
    return found


def program_version(name: str) -> str:
    """The version that a program of the system says it has (`-v`: nginx and wrk write it in different streams)."""
    done = subprocess.run([program(name), "-v"], capture_output=True, text=True)
    said = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return said.group() if said else "unknown"


def install_debian(*packages: str) -> None:
    """Install Debian packages; needs root.

    Raises:
        Unavailable: not root, not Debian, or apt-get failed.
    """
    names = " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"it needs {names}: apt-get install {names}")
    progress(f"installing {names}")
    run("apt-get", "update", "-qq")
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)


def version(package: str) -> str:
    """The installed version of a Python package, or an empty string."""
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([BIN / "python", "-c", ask], capture_output=True, text=True, cwd=ENV)
    return done.stdout.strip()


def commit() -> str:
    """The checkout's commit, marked with + when files differ from it; empty outside a repository."""
    done = subprocess.run(
        ["git", "-C", CHECKOUT, "describe", "--always", "--exclude=*", "--dirty=+"], capture_output=True, text=True
    )
    return f"({done.stdout.strip()})" if done.returncode == 0 else ""


def pip(*arguments: str) -> None:
    run(str(BIN / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def run(*command: str) -> None:
    """Run a command of the set-up; its output is shown only as the reason of its failure.

    Raises:
        Unavailable: it failed.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as problem:
        raise Unavailable(f"{command[0]}: {problem.strerror}") from problem
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if "error" in line.lower()]
        reason = lines[-1] if lines else f"exit status {done.returncode}"
        raise Unavailable(f"{' '.join(command)[:80]}: {reason[:200]}")


def progress(text: str) -> None:
    print(f"bench-peers: {text}", file=sys.stderr, flush=True)
