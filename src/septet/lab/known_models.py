"""Asks `septet models` for the process models, and checks the models and options that a command line names."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import click

from septet.errors import Failed, UsageError

ANSWER_TIMEOUT_S = 30.0


def model_names() -> tuple[str, ...]:
    """Return the models of `septet serve`, as `septet models` lists them."""
    return tuple(_asked("models", "--names").split())


def possible_models() -> tuple[str, ...]:
    """Return the models of `septet serve` that this machine and this Python can run."""
    return tuple(each["name"] for each in _described() if not each["obstacle"])


@cache
def descriptions() -> dict[str, str]:
    """Return how each model serves, in a sentence, by its name. Empty if `septet models` fails: a report is drawn
    without them.
    """
    try:
        return {each["name"]: each["description"] for each in _described()}
    except Failed:
        return {}


@cache
def tell_left_out() -> None:
    """Write on standard error which models cannot run here, each with the reason; nothing if all can. Only the first
    call in a process writes.
    """
    for each in _described():
        if each["obstacle"]:
            click.echo(f"left out: {each['name']}: {each['obstacle']}", err=True)


def _described() -> list[dict[str, Any]]:
    """Return what `septet models --json` says."""
    found: list[dict[str, Any]] = json.loads(_asked("models", "--json"))
    return found


def choose_models(wanted: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """Parse --models, names with commas between them; None: all known models. Raises UsageError for unknown names."""
    if wanted is None:
        return known
    chosen = tuple(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise UsageError(f"--models: {', '.join(unknown) or wanted!r} is not among {', '.join(known)}")
    return chosen


def size_options(models: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return which of the options "workers" and "threads" each of these models takes, by model."""
    takes = {each["name"]: frozenset(each["takes"]) for each in _described()}
    return {model: takes[model] for model in models}


def unsupported_options(models: Sequence[str], swept: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return, for each model that does not take all of the varied options `swept`, those that it does not take.

    Models differ only in the options for their size, "workers" and "threads" (`septet models --json` lists which each
    model takes). Raises UsageError for an option that none of the models takes.
    """
    takes = {each["name"]: set(each["takes"]) for each in _described()}
    sizes = set[str]().union(*takes.values())
    for name in swept:
        if name in sizes and not any(name in takes[model] for model in models):
            raise UsageError(f"--sweep: {', '.join(models)} cannot be told --{name}")
    found = {model: tuple(name for name in swept if name in sizes - takes[model]) for model in models}
    return {model: names for model, names in found.items() if names}


def _asked(*words: str) -> str:
    """Run a `septet` command and return its standard output. Raises Failed when it fails or takes too long."""
    said = f"`septet {' '.join(words)}`"
    command = [sys.executable, "-m", "septet", *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=True).stdout
    except subprocess.TimeoutExpired:
        raise Failed(f"{said} did not end within {ANSWER_TIMEOUT_S:g} s") from None
    except subprocess.CalledProcessError as error:
        raise Failed(f"{said} failed: {error.stderr.strip()}") from None
