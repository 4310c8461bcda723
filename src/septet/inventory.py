"""Which process models there are, and what their source says of them, without importing one (see `septet.models`)."""

import ast
from functools import cache
from pathlib import Path
from typing import cast

MODELS = Path(__file__).parent / "models"

SEED_ORDER = ("iterative", "forking", "preforked", "threaded", "prethreaded", "poll", "epoll", "io_uring")
"""The order in which models are listed; a model that is not named here comes after these."""


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
    """Which of the options "workers" and "threads" the model has a use for."""
    return cast("tuple[str, ...]", _literal(name, "TAKES", ("workers",)))


def concurrency(name: str) -> str:
    """Whether the model runs the application several times at once in "threads" or "processes"; "" if in neither."""
    return cast(str, _literal(name, "CONCURRENCY", ""))


def has_loop(name: str) -> bool:
    """True if the model serves all clients of a process on one event loop."""
    return cast(bool, _literal(name, "LOOP", False))


def _literal(name: str, constant: str, default: object) -> object:
    for node in _source(name).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == constant:
            return ast.literal_eval(node.value)
    return default
