"""Other servers that take part in an experiment beside the process models, described by tables of a TOML file.

    [gunicorn-gthread]
    command = "gunicorn --worker-class gthread --workers {workers} --threads {threads} --bind {host}:{port} {app}"
    environment = { GUNICORN_CMD_ARGS = "" }
    interface = "wsgi"
    pool = "threads"
    package = "gunicorn"

The command is a template in which these names are filled in: {host}, {port} and {app}; {workers}, {threads} and
{at_once}, the numbers of the pool that all contenders have (`septet.lab.pool`); and the names of options that --sweep
varies. It is split into words as a shell does it. If its first word is "python", this Python is run; other programs are
searched beside this Python first, then on PATH. The last three keys are optional: which applications the server takes,
of what its pool consists, and the package to install where it is missing.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import string
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from septet.errors import UsageError
from septet.lab.pool import KINDS, POOL_FIELDS

EXAMPLES = Path(__file__).with_name("data") / "servers.toml"
GIVEN = frozenset({"host", "port", "app"}) | POOL_FIELDS
INTERFACES = ("wsgi", "asgi")
CHOICES: Mapping[str, Sequence[str]] = {"interface": INTERFACES, "pool": KINDS}
"""The allowed values of those keys in a server's TOML table whose value must be one of a few words."""
KEYS = frozenset({"command", "environment", "package", *CHOICES})


@dataclass(frozen=True, slots=True)
class OtherServer:
    """A server other than `septet serve`."""

    name: str
    command: str
    """The command line as a template for `str.format`: {host}, {port}, {app}, the numbers of the pool and the options
    that are varied are filled in.
    """
    environment: Mapping[str, str] = field(default_factory=dict)
    interface: str | None = None
    """The interface of the applications that the server takes: "wsgi" or "asgi"; None if it is not known."""
    pool: str | None = None
    """How the server answers several requests at a time, one of `pool.KINDS`; None if it is not known."""
    package: str | None = None
    """The package that has the server, to install with pip where it is missing; None if it is not known."""
    of_family: bool = False
    """True if the user named only the first part of the server's name, such as "granian", which stands for all servers
    whose names begin with it. It is then no surprise if this server is left out, so nothing is said about that.
    """

    @property
    def fields(self) -> frozenset[str]:
        """The names in braces in the template, each of which needs a value."""
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.command) if name is not None)

    def words(self, values: Mapping[str, object]) -> list[str]:
        """Fill `values` into the template, and return the command as a list of words. A value with a space does not
        begin a new word. The word "python" at the beginning becomes this Python's path.
        """
        words = [word.format_map(values) for word in shlex.split(self.command)]
        return [sys.executable, *words[1:]] if words[0] == "python" else words

    @property
    def is_installed(self) -> bool:
        """True if the command can be started: its program is found beside this Python or on PATH, or, for `python -m
        MODULE`, this Python has the module.
        """
        first, *rest = shlex.split(self.command)
        if first != "python":
            return shutil.which(first, path=search_path()) is not None
        module = rest[1] if rest[:1] == ["-m"] and len(rest) > 1 else None
        return module is None or importlib.util.find_spec(module.partition(".")[0]) is not None


def search_path() -> str:
    """Return the PATH with which other servers are started. It begins with this Python's own directory, because the
    servers may be installed in a virtual environment that is not activated.
    """
    return os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])


def read(text: str, sweeps: frozenset[str] = frozenset()) -> tuple[OtherServer, ...]:
    """Return the other servers that `--servers` names. `text` is the name of a TOML file, all of whose servers are
    taken, or a list of names of the examples that come with Septet, separated by commas. `sweeps`: the names of the
    options that are varied.

    The first part of a name, such as "granian", stands for all examples that begin with it; `fitting` then leaves out
    those that do not take the application. Raises UsageError for errors in the file, and for names that are not among
    the examples.
    """
    path = Path(text)
    servers = _parsed(path) if path.suffix == ".toml" else _examples(text)
    for server in servers:
        if missing := sorted(server.fields - GIVEN - sweeps):
            raise UsageError(f"--servers: the command of {server.name} has {{{missing[0]}}}, which nothing fills in")
    return servers


def _examples(text: str) -> tuple[OtherServer, ...]:
    examples = {server.name: server for server in _parsed(EXAMPLES)}
    names = [name.strip() for name in text.split(",") if name.strip()]
    found: dict[str, OtherServer] = {}
    unknown = []
    for name in names:
        meant = [each for each in examples if each == name or each.startswith(f"{name}-")]
        for each in meant:
            explicit = each == name or (each in found and not found[each].of_family)
            found[each] = replace(examples[each], of_family=not explicit)
        unknown += [] if meant else [name]
    if unknown or not names:
        raise UsageError(
            f"--servers: {', '.join(unknown) or text!r} is neither a .toml file nor among {', '.join(examples)}"
        )
    return tuple(found.values())


def fitting(servers: Sequence[OtherServer], interface: str | None) -> tuple[OtherServer, ...]:
    """Return those of the servers that take an application of this interface, "wsgi" or "asgi"; None: all of them.

    Raises UsageError if none of the servers takes it, or if one of those that do is not installed.
    """
    fit = tuple(each for each in servers if interface is None or each.interface in (None, interface))
    if servers and not fit and interface is not None:
        raise UsageError(f"--servers: none of {_names(servers)} serves an application of {interface.upper()}")
    if missing := [each for each in fit if not each.is_installed]:
        packages = dict.fromkeys(each.package for each in missing if each.package)
        cure = f": pip install {' '.join(packages)}" if packages else ""
        many = len(missing) > 1
        raise UsageError(
            f"--servers: {_names(missing)} {'are' if many else 'is'} neither beside this Python nor on PATH{cure}"
        )
    return fit


def left_out(named: Sequence[OtherServer], fit: Sequence[OtherServer], interface: str | None) -> str | None:
    """Return a sentence that names the servers in `named` that are not in `fit`, because they do not take an
    application of this interface; None if there are none.

    Servers that the user did not name in full (`of_family`) are not mentioned: "granian" stands for one server for WSGI
    and one for ASGI, and it is clear that one of them is left out.
    """
    missing = [each for each in named if each not in fit and not each.of_family]
    if not missing or interface is None:
        return None
    other = next(each for each in INTERFACES if each != interface)
    return f"left out: {_names(missing)}, for {other.upper()}; the application is {interface.upper()}"


def _names(servers: Sequence[OtherServer]) -> str:
    *first, last = [each.name for each in servers]
    return f"{', '.join(first)} and {last}" if first else last


def _parsed(path: Path) -> tuple[OtherServer, ...]:
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"--servers: {path} cannot be read: {error}") from None
    return tuple(_server(name, table, path) for name, table in tables.items())


def _server(name: str, table: Any, path: Path) -> OtherServer:
    if not isinstance(table, dict) or not isinstance(table.get("command"), str) or table.keys() - KEYS:
        raise UsageError(
            f"--servers: [{name}] in {path} must have a command, and may have {', '.join(sorted(KEYS - {'command'}))}"
        )
    given = table.get("environment", {})
    if not isinstance(given, dict):
        raise UsageError(f"--servers: environment of [{name}] in {path} must be a table of variables")
    environment = {key: str(value) for key, value in given.items()}
    words = {key: table.get(key) for key in (*CHOICES, "package")}
    for key, allowed in CHOICES.items():
        if words[key] not in (None, *allowed):
            raise UsageError(
                f"--servers: {key} of [{name}] in {path} is {words[key]!r}, but must be one of {', '.join(allowed)}"
            )
    server = OtherServer(name, table["command"], environment, words["interface"], words["pool"], words["package"])
    try:
        shlex.split(server.command)
        _ = server.fields
    except ValueError as error:
        raise UsageError(f"--servers: the command of {name} in {path} cannot be read: {error}") from None
    if not server.command.strip():
        raise UsageError(f"--servers: the command of {name} in {path} is empty")
    return server
