"""Collects the values of a `Config` from the command line, the environment, a file, and the defaults, in this order.

In the environment SEPTET_* variables go before those by which platforms configure any server: PORT, WEB_CONCURRENCY and
LISTEN_FDS.

Each source becomes a dictionary with a `Found` for every option that it mentions. If several sources have an option,
the first one counts; then the rules are applied to the resulting `Config`. `--print-config` prints it as a septet.toml
that means the same, with the source of each value.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

from septet import inventory
from septet.errors import UsageError
from septet.net import activation
from septet.net.address import parse_address
from septet.settings import hints
from septet.settings.checks import check, refuse
from septet.settings.config import OPTIONS, Config
from septet.settings.options import Option, did_you_mean
from septet.settings.other_servers import hint

_BY_NAME = {option.name: option for option in OPTIONS}


@dataclass(frozen=True, slots=True)
class Found:
    """A value of an option, its source ("command line", "SEPTET_BIND", "septet.toml:3"), and the option's name in that
    source, for error messages.
    """

    value: Any
    source: str
    called: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """The resulting configuration, and the source of each value, by field. Options that no source mentions have their
    defaults, and are not in `sources`.
    """

    config: Config
    sources: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    """Sentences that warn of variables and options that have no effect."""


def resolve(given: Mapping[str, Any], environ: Mapping[str, str], file: str | None = None) -> Resolved:
    """Read all sources, and return the checked configuration.

    `given` has the options of the command line, by field. `environ`: the environment. `file`: the file to read; None:
    septet.toml in the working directory if it is there, else pyproject.toml. Raises UsageError for wrong values and
    files.
    """
    ours = _from_environment(environ) | _from_command_line(given)
    filed = _from_file(file)
    platforms, warnings = _from_platform(environ, ours, (filed | ours).get("model"))
    found = filed | platforms | ours
    config = Config(**{name: one.value for name, one in found.items()})
    called = {option.name: option.flag for option in OPTIONS} | {name: one.called for name, one in found.items()}
    check(config, called)
    said = (*warnings, *hints.of_environment(environ), *hints.of_config(config, called))
    return Resolved(config, {name: one.source for name, one in found.items()}, said)


def _from_command_line(given: Mapping[str, Any]) -> dict[str, Found]:
    return {name: _on_command_line(_BY_NAME[name], value) for name, value in given.items()}


def _on_command_line(option: Option, given: Any) -> Found:
    """Convert a value of the command line: a word, the words of an option that may be repeated, or a switch's bool."""
    try:
        if option.kind is tuple:
            value = option.from_words(given)
        else:
            value = given if option.kind is bool else option.from_text(given)
    except ValueError as error:
        refuse(option.flag, given, error)
    return Found(value, "command line", option.flag)


def _from_environment(environ: Mapping[str, str]) -> dict[str, Found]:
    """Return the values of SEPTET_* variables that are options, by field. Variables that only look like options are
    left to `hints`.
    """
    return {
        option.name: _said(option, option.variable, environ[option.variable])
        for option in OPTIONS
        if environ.get(option.variable)  # shells often set a variable to nothing where they mean no value
    }


def _said(option: Option, variable: str, text: str) -> Found:
    try:
        value = option.from_text(text)
    except ValueError as error:
        refuse(variable, text, error)
    return Found(value, variable, variable)


def _from_platform(
    environ: Mapping[str, str], ours: Mapping[str, Found], model: Found | None
) -> tuple[dict[str, Found], list[str]]:
    """Return the values from variables by which platforms configure any server, by field, and warnings about such
    variables that have no effect.

    A variable counts only where `ours`, the command line and SEPTET_*, has no value for its option. LISTEN_FDS are
    sockets that are open already (sd_listen_fds(3)), so they go before PORT. PORT is set by Heroku, Cloud Run and
    others, which send clients to the container's address; so it is bound on all interfaces, as gunicorn does.
    WEB_CONCURRENCY is the number of workers; it has no effect if `model` itself decides that number. An empty variable
    counts as not set.
    """
    found: dict[str, Found] = {}
    warnings: list[str] = []
    if "workers" not in ours and (text := environ.get("WEB_CONCURRENCY")):
        if model and model.value in inventory.names() and "workers" not in inventory.takes(model.value):
            warnings.append(
                f"WEB_CONCURRENCY has no effect: the model {model.value} decides the number of its processes"
            )
        else:
            found["workers"] = _said(_BY_NAME["workers"], "WEB_CONCURRENCY", text)
    if "bind" not in ours:
        if fds := environ.get("LISTEN_FDS"):
            if activation.is_for_us(environ):
                found["bind"] = Found(_passed(fds), "LISTEN_FDS", "LISTEN_FDS")
            else:
                warnings.append("LISTEN_FDS has no effect, because LISTEN_PID names another process")
        if "bind" not in found and (port := environ.get("PORT")):
            found["bind"] = Found((_on_all_interfaces(port),), "PORT", "PORT")
    return found, warnings


def _passed(text: str) -> tuple[str, ...]:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= activation.MOST:
        refuse("LISTEN_FDS", text, ValueError(f"must be a whole number from 1 to {activation.MOST}"))
    return tuple(f"fd://{number}" for number in range(activation.FIRST, activation.FIRST + int(text)))


def _on_all_interfaces(port: str) -> str:
    address = f"0.0.0.0:{port}"
    try:
        parse_address(address)
    except ValueError:
        refuse("PORT", port, ValueError("must be a port from 0 to 65535"))
    return address


def _from_file(chosen: str | None) -> dict[str, Found]:
    """Return the values of the file `chosen`, by field. None: those of septet.toml if it exists, else of the table
    [tool.septet] in pyproject.toml.
    """
    if chosen is not None:
        if not _is_file(Path(chosen)):
            raise UsageError(f"--config is {chosen!r}, but must be a file that exists")
        return _read(Path(chosen))
    for path in (Path("septet.toml"), Path("pyproject.toml")):
        if _is_file(path):
            return _read(path)
    return {}


def _is_file(path: Path) -> bool:
    """True if there is a regular file at `path`. Raises UsageError if that cannot be told, as in a directory that this
    user may not search: `Path.is_file` would raise PermissionError then, and return False since Python 3.14.
    """
    try:
        return S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


def _read(path: Path) -> dict[str, Found]:
    try:
        text = path.read_text("utf-8")
        table: Any = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise UsageError(f"{path} is not TOML: {error}") from None
    header = "tool.septet" if path.name == "pyproject.toml" else ""
    for key in filter(None, header.split(".")):
        table = table.get(key, {}) if isinstance(table, dict) else table
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {header} is {table!r}, but must be a table")
    return {key: _in_file(key, value, _place(path, text, header, key)) for key, value in table.items()}


def _in_file(key: str, value: object, place: str) -> Found:
    option = _BY_NAME.get(key)
    if option is None:
        cure = f" ({hint(key)})" if hint(key) else did_you_mean(key.replace("-", "_"), _BY_NAME)
        cure = cure or f"; the options are {', '.join(_BY_NAME)}"
        raise UsageError(f"{place}: {key} is not an option{cure}")
    called = f"{place}: {key}"
    try:
        return Found(option.from_toml(value), place, called)
    except ValueError as error:
        refuse(called, value, error)


def _place(path: Path, text: str, header: str, key: str) -> str:
    """Return where `key` stands in the file: `septet.toml:3`, or `septet.toml` if the line is not found.

    tomllib does not report lines. This looks for `key =` under the table's `header`, so it does not find a dotted key.
    """
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if opened := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            table = opened[1]
        elif table == header and re.match(rf"""\s*(["']?){re.escape(key)}\1\s*=""", line):
            return f"{path}:{number}"
    return str(path)


def as_toml(resolved: Resolved) -> str:
    """Return the configuration as the text of a septet.toml, each value with its source in a comment."""
    lines = ["# What `septet serve` uses, and where each value comes from. As septet.toml it means the same."]
    for section in dict.fromkeys(option.section for option in OPTIONS):
        lines += ["", f"# {section}"]
        lines += [_toml_line(option, resolved) for option in OPTIONS if option.section == section]
    return "\n".join(lines) + "\n"


def _toml_line(option: Option, resolved: Resolved) -> str:
    value = getattr(resolved.config, option.name)
    source = resolved.sources.get(option.name, "default")
    if value is None:  # TOML has no null: the key is left out
        return f"# {option.name} is not set: {option.unset}"
    return f"{f'{option.name} = {toml_value(value)}':<42}  # {source}"


def toml_value(value: Any) -> str:
    """Return `value` as TOML 1.0 writes it. Strings are written as in JSON, except for DEL."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if "-" in str(value):  # a range of workers; no number is negative
        return f'"{value}"'
    return str(value).lower()  # for True and False; numbers have no capitals
