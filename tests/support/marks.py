"""Marks that say where a test runs: in one application interface, or not under every process model."""

from collections.abc import Iterable
from importlib.util import find_spec
from itertools import product

import pytest

from septet.interpreter import is_free_threaded
from support.models import ENGINE_MODEL, MODELS, STYLES

wsgi_only = pytest.mark.parametrize("interface", ["wsgi"])
asgi_only = pytest.mark.parametrize("interface", ["asgi"])

#: For what is decided before a model has a part in it: the rule is in the docstring of `contract/conftest.py`.
engine_decides = pytest.mark.parametrize("model", [ENGINE_MODEL])

#: For what depends on who calls the application: the thread that carries the connection, or an event loop.
each_style = pytest.mark.parametrize("model", STYLES)


def with_one_interface(models: Iterable[str] = MODELS) -> pytest.MarkDecorator:
    """Each of `models`, for what the application has no part in: with WSGI, and for a model of each style with ASGI."""
    chosen = tuple(models)
    pairs = [*product(chosen, ["wsgi"]), *product([model for model in STYLES if model in chosen], ["asgi"])]
    return pytest.mark.parametrize(("model", "interface"), pairs)


def cases(
    names: str, *, everywhere: Iterable[object] = (), once: Iterable[object] = (), models: Iterable[str] = MODELS
) -> pytest.MarkDecorator:
    """Parametrize `names` and the model: what is `everywhere` under each of `models`, what is `once` under one."""
    pairs = [*product(everywhere, models), *product(once, [ENGINE_MODEL])]
    return pytest.mark.parametrize(f"{names},model", [(*_listed(case), model) for case, model in pairs])


def _listed(case: object) -> tuple[object, ...]:
    return case if isinstance(case, tuple) else (case,)


def name(part: tuple[str, ...] | str) -> str:
    """The id of a parameter that is a model with its options, or an interface."""
    return part if isinstance(part, str) else " ".join(part)


#: For commands that draw pictures, or import what does: Altair hands its charts to a program in the package vl_convert.
draws = pytest.mark.skipif(
    is_free_threaded() and find_spec("vl_convert") is None,
    reason="vl-convert, which draws pictures, has no wheel for a Python without the GIL (2026-11)",
)
