"""The JSON Schema of septet.toml: that it is one, and that it allows what Septet allows."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from septet.errors import UsageError
from septet.settings.config import OPTIONS, Config
from septet.settings.schema import schema
from septet.settings.sources import Resolved, as_toml, resolve
from support.pages import Block, blocks

VALIDATOR = Draft202012Validator(schema())

EXAMPLES = [block for block in blocks("toml") if block.title in ("septet.toml", "pyproject.toml")]


def test_command_prints_it() -> None:
    command = [sys.executable, "-m", "septet", "config", "schema"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    printed = json.loads(done.stdout)
    Draft202012Validator.check_schema(printed)
    assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert list(printed["properties"]) == [option.name for option in OPTIONS]


@pytest.mark.parametrize("words", [(), ("show",)], ids=" ".join)
def test_other_command(words: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", "septet", "config", *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("septet: ")
    assert done.stderr.count("\n") == 1


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_examples_of_the_documentation(block: Block) -> None:
    table = tomllib.loads(block.text)
    if block.title == "pyproject.toml":
        table = table["tool"]["septet"]
    VALIDATOR.validate(table)


def test_all_defaults() -> None:
    VALIDATOR.validate(tomllib.loads(as_toml(Resolved(Config(), {}))))


@pytest.mark.parametrize(
    "table",
    [
        {"wrokers": 2},
        {"serve": {"workers": 2}},
        {"workers": 0},
        {"workers": "two"},
        {"workers": 1.5},
        {"model": "gevent"},
        {"factory": 1},
        {"body_timeout": 0},
        {"body_timeout": "30"},
        {"body_timeout": "30x"},
        {"limit_body": "1.5M"},
        {"limit_header_count": "1K"},
        {"bind": [8000]},
        {"static_cache_control": ["a"]},
    ],
    ids=str,
)
def test_both_refuse(table: Mapping[str, Any], tmp_path: Path) -> None:
    assert not VALIDATOR.is_valid(table)
    with pytest.raises(UsageError):
        resolve({}, {}, _written(table, tmp_path))


@pytest.mark.parametrize(
    "table",
    [
        {"workers": "2-8"},
        {"bind": "unix:a"},
        {"bind": ["unix:a", "[::1]:0"]},
        {"body_timeout": 5},
        {"body_timeout": 0.5},
        {"body_timeout": "1.5m"},
        {"limit_body": "16MiB"},
        {"umask": "027", "user": "root"},
        {"model": "prethreaded", "threads": 8, "supervisor": False},
        {},
    ],
    ids=str,
)
def test_both_allow(table: Mapping[str, Any], tmp_path: Path) -> None:
    VALIDATOR.validate(table)
    resolve({}, {}, _written(table, tmp_path))


def _written(table: Mapping[str, Any], directory: Path) -> str:
    """The path of a septet.toml with these keys. JSON's values are TOML's, except for tables."""
    path = directory / "septet.toml"
    lines = [
        f"[{key}]\n" + "".join(f"{name} = {json.dumps(one)}\n" for name, one in value.items())
        if isinstance(value, dict)
        else f"{key} = {json.dumps(value)}\n"
        for key, value in table.items()
    ]
    path.write_text("".join(lines))
    return str(path)
