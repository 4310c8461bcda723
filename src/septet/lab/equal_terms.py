"""Prepares an experiment that compares servers: leaves out servers that cannot serve the application, and gives all
contenders a pool of the same size. Of an experiment without other servers it says which pools the models have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from septet.errors import Failed, UsageError
from septet.lab import contenders, pool
from septet.lab.contenders import OtherServer
from septet.lab.experiment import Experiment
from septet.lab.interface import served
from septet.lab.known_models import size_options
from septet.lab.pool import Pool

SIZES = ("workers", "threads")


def on_equal_terms(experiment: Experiment, written: str | None, say: Callable[[str], None]) -> Experiment:
    """Return the experiment with a pool of the same size for all contenders, and without servers that do not take the
    application's interface.

    Args:
        written: the value of --pool; None: the pool of the preset that --profile names, or else the one that `septet
            serve` has by default.
        say: called with a sentence when servers were left out.

    Raises UsageError for servers that are not installed, and for --workers or --threads in --serve-option, which would
    hold for Septet alone.
    """
    for name in SIZES:
        if any(word == f"--{name}" or word.startswith(f"--{name}=") for word in experiment.serve_options):
            raise UsageError(f"--serve-option: --{name} would hold for Septet alone; --pool sets it for all contenders")
    asked = pool.parse(written) if written else None
    interface = _interface(experiment)
    fit = contenders.fitting(experiment.others, interface)
    if (sentence := contenders.left_out(experiment.others, fit, interface)) is not None:
        say(sentence)
    takes = size_options(experiment.models)
    chosen = asked or _of_profile(experiment.model_options) or pool.default(experiment.pinned)
    options = pool.model_options(chosen, takes, interface)
    if asked is None:
        options |= experiment.model_options
    return replace(
        experiment,
        others=fit,
        pool=chosen,
        pool_told=pool.describe(chosen, _kinds(takes, fit, interface)),
        model_options=options,
    )


def as_they_come(experiment: Experiment) -> Experiment:
    """Return the experiment with the sentence that says which pools its models have by default, unless an option sets
    one of their sizes.
    """
    words = [*experiment.serve_options, *(word for each in experiment.model_options.values() for word in each)]
    given = {word.split("=")[0] for word in words} | {f"--{name}" for name, _ in experiment.sweeps}
    if given & {f"--{name}" for name in SIZES}:
        return experiment
    return replace(experiment, pool_told=pool.told_by_default(experiment.models, experiment.pinned))


def _interface(experiment: Experiment) -> str | None:
    """Return the application's interface, "wsgi" or "asgi"; None if the application cannot be started. No error is
    raised for that here, because a later step reports it.
    """
    try:
        return "asgi" if served(experiment, experiment.models[0]).asynchronous else "wsgi"
    except Failed:
        return None


def _kinds(
    takes: Mapping[str, frozenset[str]], others: tuple[OtherServer, ...], interface: str | None
) -> dict[str, str | None]:
    ours: dict[str, str | None] = {model: pool.kind_of(model, names, interface) for model, names in takes.items()}
    return ours | {other.name: other.pool for other in others}


def _of_profile(model_options: Mapping[str, tuple[str, ...]]) -> Pool | None:
    """Return the pool that the preset of --profile gives to the model prethreaded by its option --threads, as one
    process with that many threads; None if it gives none. `model_options`: the options of each model by the preset.
    """
    words = model_options.get("prethreaded", ())
    return Pool(1, int(words[words.index("--threads") + 1])) if "--threads" in words else None
