"""The JSON Schema of septet.toml, made from `Config`: editors complete and check the file with it.

    septet config schema > septet.schema.json

It says which values each key may have. It does not say which keys must go together, or whether a file or a user exists:
a server checks that at its start, and `septet serve --check` does so without serving.
"""

import json
import math
from typing import Any

import click

from septet.errors import UsageError
from septet.settings.config import OPTIONS
from septet.settings.options import Number, OneOf, Option

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_WORKERS = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9]{1,10}(-[0-9]{1,10})?$"}]}
"""The schema of the key `workers`: a number, or a range such as "2-8"."""

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of septet.toml."""
    return {
        "$schema": DIALECT,
        "title": "septet.toml",
        "description": "The options of `septet serve`. In pyproject.toml they are under [tool.septet].",
        "type": "object",
        "properties": {option.name: _property(option) for option in OPTIONS},
        "additionalProperties": False,
    }


def _property(option: Option) -> dict[str, Any]:
    found: dict[str, Any] = {"description": _description(option)}
    if option.kind is tuple:
        found["anyOf"] = [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
    else:
        found |= {"type": _TYPES[option.kind]} if option.kind in _TYPES else _WORKERS
    if isinstance(option.rule, OneOf):
        found["enum"] = list(option.rule.names())
    if isinstance(option.rule, Number):
        found = _number(found, option.rule)
    if option.default not in (None, ()):
        found["default"] = list(option.default) if option.kind is tuple else option.default
    return found


def _number(found: dict[str, Any], rule: Number) -> dict[str, Any]:
    """Return `found`, the schema of a key, with the bounds of `rule`; if the number may have a unit, as text, with
    both forms.
    """
    bounds = {"minimum": rule.minimum} | ({} if rule.maximum == math.inf else {"maximum": rule.maximum})
    if rule.units is None:
        return found | bounds
    number = {"type": found.pop("type")} | bounds
    return found | {"anyOf": [number, {"type": "string", "pattern": rule.units.pattern}]}


def _description(option: Option) -> str:
    unset = f" Default: {option.unset}." if option.default in (None, ()) else ""
    needs = f" Has no effect without {option.needs}." if option.needs else ""
    allowed = "" if option.kind is bool else f" Allowed: {option.allowed()}."
    return f"{option.help}{allowed}{unset}{needs}"


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  septet config schema > septet.schema.json""",
)
@click.pass_context
def config(context: click.Context) -> None:
    """Commands about the configuration file. (`septet serve --print-config` prints the resulting configuration.)"""
    if context.invoked_subcommand is None:
        raise UsageError("COMMAND is missing, but must be schema; see septet config --help")


@config.command(
    "schema",
    epilog="""\b
Examples:
  septet config schema > septet.schema.json""",
)
def print_schema() -> None:
    """Print the JSON Schema (draft 2020-12) of septet.toml."""
    click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))
