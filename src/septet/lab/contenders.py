"""Other servers that take part in an experiment beside the process models, described by tables of a TOML file.

    [gunicorn-gthread]
    command = "gunicorn --worker-class gthread --threads 16 --bind {host}:{port} {app}"
    environment = { GUNICORN_CMD_ARGS = "" }

In the command {host}, {port} and {app} are filled in, and the names of `--sweep`; it is split as a shell does it. A
command whose first word is "python" runs this Python; others are searched beside it first, then on PATH.
"""

from __future__ import annotations

import shlex
import string
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from septet.errors import UsageError

EXAMPLES = Path(__file__).with_name("data") / "servers.toml"
GIVEN = frozenset({"host", "port", "app"})
KEYS = frozenset({"command", "environment"})


@dataclass(frozen=True, slots=True)
class OtherServer:
    """A server other than `septet serve`."""

    name: str
    command: str
    """The command line as a template for `str.format`: {host}, {port}, {app} and swept options are filled in."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> frozenset[str]:
        """The names in braces in the template, each of which needs a value."""
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.command) if name is not None)

    def words(self, values: Mapping[str, object]) -> list[str]:
        """Fill in the template; returns the command as a list of words. A value with a space stays in its word."""
        words = [word.format_map(values) for word in shlex.split(self.command)]
        return [sys.executable, *words[1:]] if words[0] == "python" else words


def read(text: str, sweeps: frozenset[str] = frozenset()) -> tuple[OtherServer, ...]:
    """Return the other servers that `--servers` names. `text` is the name of a TOML file, all of whose servers are
    taken, or names of our examples, separated by commas.

    Raises UsageError for errors in the file, and for names that are not among the examples.
    """
    path = Path(text)
    if path.suffix == ".toml":
        servers = _parsed(path)
    else:
        examples = {server.name: server for server in _parsed(EXAMPLES)}
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in examples]
        if unknown or not names:
            raise UsageError(
                f"--servers: {', '.join(unknown) or text!r} is neither a .toml file nor among {', '.join(examples)}"
            )
        servers = tuple(examples[name] for name in names)
    for server in servers:
        if missing := sorted(server.fields - GIVEN - sweeps):
            raise UsageError(f"--servers: the command of {server.name} has {{{missing[0]}}}, which nothing fills in")
    return servers


def _parsed(path: Path) -> tuple[OtherServer, ...]:
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"--servers: {path} cannot be read: {error}") from None
    return tuple(_server(name, table, path) for name, table in tables.items())


def _server(name: str, table: Any, path: Path) -> OtherServer:
    if not isinstance(table, dict) or not isinstance(table.get("command"), str) or table.keys() - KEYS:
        raise UsageError(f"--servers: [{name}] in {path} must have a command, and may have an environment")
    environment = table.get("environment", {})
    server = OtherServer(name, table["command"], {key: str(value) for key, value in environment.items()})
    try:
        shlex.split(server.command)
        _ = server.fields
    except ValueError as error:
        raise UsageError(f"--servers: the command of {name} in {path} cannot be read: {error}") from None
    if not server.command.strip():
        raise UsageError(f"--servers: the command of {name} in {path} is empty")
    return server
