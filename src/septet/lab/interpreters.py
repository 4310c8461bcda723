"""Interpreters of Python that are measured side by side (`septet bench --pythons`).

All of them run the Septet that measures, with its library click. Both are plain Python for any version since 3.11, so
nothing is installed for an interpreter: PYTHONPATH begins with a directory that has links to the two packages. What the
application imports must be installed for each interpreter, most simply in a virtual environment of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

import septet
from septet.errors import UsageError

SETTING = "python"
"""The interpreter of a cell is one of its settings, like a varied option. This is the name of that setting."""
OLDEST = (3, 11)
ANSWER_TIMEOUT_S = 30.0
LENT = {"septet": Path(septet.__file__).parent, "click": Path(click.__file__).parent}
_QUESTION = """
import json, sys, sysconfig
if sys.version_info >= (3, 11):
    import click, septet
free = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
kind = "" if sys.implementation.name == "cpython" else sys.implementation.name
name = kind + ".".join(map(str, sys.version_info[:3])) + free
print(json.dumps([name, sys.executable, sys.version, list(sys.version_info[:2])]))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter of Python under which the server is measured."""

    name: str
    """The interpreter's version as shown in labels: "3.13.0", "3.13.0t" for a free-threaded build, "pypy3.11.13"."""
    executable: str
    version: str
    """The `sys.version` of the interpreter."""


def read(text: str) -> tuple[Interpreter, ...]:
    """Return the interpreters that --pythons names in `text`: programs on PATH, or paths, separated by commas.

    Raises UsageError if the list is empty, or if one of the programs cannot be started, does not answer as a Python
    does, cannot import Septet, or is too old.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError(f"--pythons: {text!r} is not a list of programs, such as python3.11,python3.13")
    found: list[Interpreter] = []
    for word in words:
        one = _asked(word)
        if any(one.name == other.name for other in found):  # two builds of one version: told apart by what was typed
            one = replace(one, name=f"{one.name}:{word}")
        found.append(one)
    return tuple(found)


def _asked(word: str) -> Interpreter:
    path = shutil.which(os.path.expanduser(word))
    if path is None:
        raise UsageError(f"--pythons: {word!r} is no program that can be started")
    with tempfile.TemporaryDirectory(prefix="septet-") as scratch:
        environment = {**os.environ, "PYTHONPATH": lend(Path(scratch))}
        try:
            done = subprocess.run(
                [os.path.abspath(path), "-c", _QUESTION],
                capture_output=True,
                text=True,
                timeout=ANSWER_TIMEOUT_S,
                env=environment,
                check=True,
            )
            name, executable, version, numbers = json.loads(done.stdout)
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or ["without a word"])[-1]
            raise UsageError(f"--pythons: {word} cannot run Septet: {last}") from None
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise UsageError(f"--pythons: {word} does not answer as a Python does: {error}") from None
    if tuple(numbers) < OLDEST:
        raise UsageError(f"--pythons: {word} is Python {name}, but must be {'.'.join(map(str, OLDEST))} or newer")
    return Interpreter(name, executable, version)


def lend(directory: Path) -> str:
    """Make links to Septet and click in a new directory below `directory`; returns the value of PYTHONPATH with which
    an interpreter finds them.
    """
    place = directory.absolute() / "lent"
    if not place.exists():
        place.mkdir()
        for name, package in LENT.items():
            (place / name).symlink_to(package, target_is_directory=True)
    return os.pathsep.join(filter(None, [str(place), os.environ.get("PYTHONPATH", "")]))


def lines(interpreters: Sequence[Interpreter]) -> str:
    """Return the interpreters' names as text, for captions."""
    return " and ".join(filter(None, [", ".join(each.name for each in interpreters[:-1]), interpreters[-1].name]))
