"""Process models: one module without a leading underscore is one model, and its name is the model's name.

A model decides which thread or process moves the bytes and where the application runs. The first line of its module's
docstring describes it, and its `run(service)` serves until the service is stopped. A model may also have

    TAKES        which of the options "workers" and "threads" have an effect under it (default: "workers")
    CONCURRENCY  the application runs several times at once in "threads", "processes" or "interpreters"; each
                 interpreter loads it anew (default: it runs once at a time)
    LOOP         clients are on an event loop, on which `--threads 0` runs a WSGI application, too (default: False)
    obstacle()   why this machine cannot run it, in a sentence, or None (default: every machine can)

The first three are literals: they are read, like the docstring, without importing the model.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

from septet.inventory import concurrency, description, has_loop, names, takes

if TYPE_CHECKING:
    from septet.service import Service

__all__ = ["concurrency", "describe", "description", "has_loop", "load", "names", "obstacle", "takes"]


def obstacle(name: str) -> str | None:
    """Return why this machine cannot run the model, in a sentence; None if it can. Imports the model."""
    reason = getattr(import_module(f"{__name__}.{name}"), "obstacle", None)
    return cast("str | None", reason()) if reason else None


def describe(name: str) -> dict[str, object]:
    """Return the model's name, its description, what its module declares (TAKES, CONCURRENCY) and its obstacle, for
    `septet models --json`. Imports the model.
    """
    return {
        "name": name,
        "description": description(name),
        "takes": takes(name),
        "concurrency": concurrency(name),
        "obstacle": obstacle(name),
    }


def load(name: str) -> "Callable[[Service], None]":
    """Import a model and return its `run`."""
    return cast("Callable[[Service], None]", import_module(f"{__name__}.{name}").run)
