"""Which process models there are, and what their modules declare (see `septet.models`), read from the source: to import
a model takes longer, and fails where the machine cannot run it. The package may lie in an archive, as in one of zipapp,
and may be without its source, as in a program of PyInstaller's: then the models are imported.
"""

import ast
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import get_data, iter_modules
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

_CONSTANTS = ("TAKES", "CONCURRENCY", "LOOP")


@cache
def names() -> tuple[str, ...]:
    """Return the names of all models, in SEED_ORDER."""
    found = {module.name for module in iter_modules([str(MODELS)]) if not module.name.startswith("_")}
    known = [name for name in SEED_ORDER if name in found]
    return (*known, *sorted(found.difference(known)))


@cache
def _declared(name: str) -> Mapping[str, object]:
    """Return the docstring (`__doc__`) and the literal constants of a model's module."""
    try:
        source = get_data("septet", f"models/{name}.py")
    except OSError:
        source = None
    if source is None:
        return vars(import_module(f"septet.models.{name}"))
    module = ast.parse(source)
    found: dict[str, object] = {"__doc__": ast.get_docstring(module)}
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in _CONSTANTS:
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def description(name: str) -> str:
    """Return the description of a model: the first line of its module's docstring."""
    return cast(str, _declared(name)["__doc__"] or "").partition("\n")[0]


def takes(name: str) -> tuple[str, ...]:
    """Return which of the options "workers" and "threads" the model uses, as the constant TAKES of its module says."""
    return cast("tuple[str, ...]", _declared(name).get("TAKES", ("workers",)))


def concurrency(name: str) -> str:
    """Return what the model runs several requests at once in: "threads", "processes" or "interpreters". Returns "" if
    it runs one request after the other.
    """
    return cast(str, _declared(name).get("CONCURRENCY", ""))


def has_loop(name: str) -> bool:
    """True if the model serves all clients of a process on one event loop (poll, epoll, io_uring)."""
    return cast(bool, _declared(name).get("LOOP", False))
