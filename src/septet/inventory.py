"""Which process models there are, and what their files say of them, without importing any (see `septet.models`)."""

import ast
from functools import cache
from pathlib import Path
from typing import cast

MODELS = Path(__file__).parent / "models"

SEED_ORDER = ("iterative", "forking", "preforked", "threaded", "prethreaded", "poll", "epoll", "io_uring")
"""The order in which the models are told of; one that is not named here comes after these."""


@cache
def names() -> tuple[str, ...]:
    """The names of all models."""
    found = {path.stem for path in MODELS.glob("*.py") if not path.stem.startswith("_")}
    known = [name for name in SEED_ORDER if name in found]
    return (*known, *sorted(found.difference(known)))


@cache
def _source(name: str) -> ast.Module:
    return ast.parse((MODELS / f"{name}.py").read_text(encoding="utf-8"))


def description(name: str) -> str:
    """The first line of the model's docstring."""
    return (ast.get_docstring(_source(name)) or "").partition("\n")[0]


def takes(name: str) -> tuple[str, ...]:
    """Which of "workers" and "threads" mean something to the model."""
    return cast("tuple[str, ...]", _literal(name, "TAKES", ("workers",)))


def concurrency(name: str) -> str:
    """In what the model runs the application several times at once: "threads", "processes" or neither ("")."""
    return cast(str, _literal(name, "CONCURRENCY", ""))


def has_loop(name: str) -> bool:
    """Whether the model serves all clients of a process on one event loop."""
    return cast(bool, _literal(name, "LOOP", False))


def _literal(name: str, constant: str, default: object) -> object:
    for node in _source(name).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == constant:
            return ast.literal_eval(node.value)
    return default
