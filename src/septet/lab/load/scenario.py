"""The scenario file, which may give the targets of a plan.

A scenario is a TOML file:

    cookies = true
    headers = { Accept = "text/html" }

    [[target]]
    path = "/guestbook"
    weight = 9

    [[target]]
    path = "/guestbook"
    method = "POST"
    headers = { Content-Type = "application/x-www-form-urlencoded" }
    body = "name=user+{user}&remark=hello"
    status = 303
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from .plan import ANY_LENGTH, LoadError, Target

TYPES: dict[str, type | tuple[type, ...]] = {
    "path": str,
    "method": str,
    "body": str,
    "body_file": str,
    "headers": dict,
    "weight": int,
    "name": str,
    "status": int,
    "length": (int, str),
    "text": str,
    "same_body": bool,
}
RENAMED = {"length": "expect_length", "text": "expect_text"}


def read(path: Path) -> dict[str, Any]:
    """Read a scenario; returns fields of a Plan: targets, headers, cookies. Raises LoadError if the file cannot be read
    or is not valid.
    """
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise LoadError(f"the scenario {path} cannot be read: {error}") from None
    unknown = sorted(values.keys() - {"target", "headers", "cookies"})
    if unknown:
        raise LoadError(f"the scenario {path} has no key {unknown[0]!r}; there are target, headers and cookies")
    tables = values.get("target")
    if not isinstance(tables, list) or not tables or not all(isinstance(each, dict) for each in tables):
        raise LoadError(f"the scenario {path} has no [[target]]")
    cookies = values.get("cookies", False)
    if not isinstance(cookies, bool):
        raise LoadError(f"the scenario {path}: cookies is neither true nor false")
    return {
        "targets": tuple(_target(table, path) for table in tables),
        "headers": _headers(values.get("headers", {}), path),
        "cookies": cookies,
    }


def _target(table: dict[str, Any], path: Path) -> Target:
    for name, value in table.items():
        if name not in TYPES:
            raise LoadError(f"the scenario {path}: a target has no key {name!r}; there are {', '.join(TYPES)}")
        if not isinstance(value, TYPES[name]) or (isinstance(value, bool) and TYPES[name] is not bool):
            raise LoadError(f"the scenario {path}: {name} = {value!r} is of the wrong type")
    fields = {RENAMED.get(name, name): value for name, value in table.items()}
    if "body_file" in fields:
        fields["body"] = _body(path.parent / fields.pop("body_file"))
    if "expect_length" in fields and not isinstance(fields["expect_length"], int):
        if fields["expect_length"] != "any":
            raise LoadError(f"the scenario {path}: length is neither a number of bytes nor 'any'")
        fields["expect_length"] = ANY_LENGTH
    return Target(**{**fields, "headers": _headers(fields.get("headers", {}), path)})


def _body(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise LoadError(f"the body {path} cannot be read: {error.strerror}") from None


def _headers(table: object, path: Path) -> tuple[str, ...]:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise LoadError(f'the scenario {path}: headers are written as {{ Accept = "text/html" }}')
    return tuple(f"{name}: {value}" for name, value in table.items())
