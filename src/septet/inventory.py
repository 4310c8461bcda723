"""Which process models there are, and what their modules declare (see `septet.models`), read from the source: to import
a model takes longer, and fails where the machine cannot run it."""

import ast
from functools import cache
from pathlib import Path
from typing import cast

MODELS = Path(__file__).parent / "models"

SEED_ORDER = (
    "iterative",
    "forking",
    "preforked",
    "threaded",
    "prethreaded",
    "poll",
    "epoll",
    "io_uring",
    "interpreters",
)
"""The order in which models are listed; a model that is not named here comes after these."""


@cache
def names() -> tuple[str, ...]:
    """Return the names of all models, in SEED_ORDER."""
    found = {path.stem for path in MODELS.glob("*.py") if not path.stem.startswith("_")}
    known = [name for name in SEED_ORDER if name in found]
    return (*known, *sorted(found.difference(known)))


@cache
def _source(name: str) -> ast.Module:
    return ast.parse((MODELS / f"{name}.py").read_text(encoding="utf-8"))


def description(name: str) -> str:
    """Return the description of a model: the first line of its module's docstring."""
    return (ast.get_docstring(_source(name)) or "").partition("\n")[0]


def takes(name: str) -> tuple[str, ...]:
    """Return which of the options "workers" and "threads" the model uses, as the constant TAKES of its module says."""
    return cast("tuple[str, ...]", _literal(name, "TAKES", ("workers",)))


def concurrency(name: str) -> str:
    """Return what the model runs several requests at once in: "threads", "processes" or "interpreters". Returns "" if
    it runs one request after the other.
    """
    return cast(str, _literal(name, "CONCURRENCY", ""))


def has_loop(name: str) -> bool:
    """True if the model serves all clients of a process on one event loop (poll, epoll, io_uring)."""
    return cast(bool, _literal(name, "LOOP", False))


def _literal(name: str, constant: str, default: object) -> object:
    for node in _source(name).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == constant:
            return ast.literal_eval(node.value)
    return default
