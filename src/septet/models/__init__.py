"""Process models: one module without a leading underscore is one model, and its name is the model's name.

A model decides who moves the bytes and where the application runs; its module's docstring begins with a line
that says how, and its `run(service)` serves until the service is stopped. Beside that a model may have

    TAKES        the options for its size that mean something to it, of "workers" and "threads" (default: "workers")
    CONCURRENCY  in what it runs the application several times at once: "threads", "processes" (default: neither)
    LOOP         clients are on an event loop, where `--threads 0` runs a WSGI application, too (default: False)
    obstacle()   why this machine cannot run it, in a sentence, or None (default: every machine can)

The first three are literals: they are read, like the docstring, without importing the model.
"""

import ast
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from septet.service import Service

SEED_ORDER = ("iterative", "forking", "preforked", "threaded", "prethreaded", "poll", "epoll", "io_uring")
"""The order in which the models are told of; one that is not named here comes after these."""


@cache
def names() -> tuple[str, ...]:
    """The names of all models."""
    found = {path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")}
    known = [name for name in SEED_ORDER if name in found]
    return (*known, *sorted(found.difference(known)))


@cache
def _source(name: str) -> ast.Module:
    return ast.parse((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8"))


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


def obstacle(name: str) -> str | None:
    """Why this machine cannot run the model; None if it can."""
    reason = getattr(import_module(f"{__name__}.{name}"), "obstacle", None)
    return cast("str | None", reason()) if reason else None


def describe(name: str) -> dict[str, object]:
    """All of this in plain values: `obstacle` is null where the model can run."""
    return {
        "name": name,
        "description": description(name),
        "takes": takes(name),
        "concurrency": concurrency(name),
        "obstacle": obstacle(name),
    }


def load(name: str) -> "Callable[[Service], None]":
    """The model's `run`."""
    return cast("Callable[[Service], None]", import_module(f"{__name__}.{name}").run)
