"""Process models: one module without a leading underscore is one model, and its name is the model's name.

A model decides who moves the bytes and where the application runs; its module's docstring begins with a line
that says how, and its `run(service)` serves until the service is stopped. A model that not every machine can run
has `obstacle()`, which gives the reason in a sentence, or None.
"""

import ast
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from septet.models._service import Service

SEED_ORDER = ("iterative", "forking", "preforked", "threaded", "prethreaded", "poll", "epoll", "io_uring")
"""The order in which the models are told of; one that is not named here comes after these."""


@cache
def names() -> tuple[str, ...]:
    """The names of all models."""
    found = {path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")}
    known = [name for name in SEED_ORDER if name in found]
    return (*known, *sorted(found.difference(known)))


def description(name: str) -> str:
    """The first line of the model's docstring, read without importing the model."""
    source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def obstacle(name: str) -> str | None:
    """Why this machine cannot run the model; None if it can."""
    reason = getattr(import_module(f"{__name__}.{name}"), "obstacle", None)
    return cast("str | None", reason()) if reason else None


def load(name: str) -> "Callable[[Service], None]":
    """The model's `run`."""
    return cast("Callable[[Service], None]", import_module(f"{__name__}.{name}").run)
