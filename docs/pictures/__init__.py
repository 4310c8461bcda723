"""The drawings of the documentation and the tables made from the code, by the names that the pages use."""

from collections.abc import Callable
from functools import partial

from pictures import elsewhere, flow, gil, layers, leaders, models, phases, price, scaling, strictness
from pictures.drawing import Drawing
from septet.lab import metrics
from septet.settings.other_servers import SERVERS

PICTURES: dict[str, Callable[[], Drawing]] = {
    **{f"{name}-structure": partial(models.structure, model) for name, model in models.MODELS.items()},
    **{f"{name}-time": partial(models.time, model) for name, model in models.MODELS.items()},
    **{name: partial(flow.draw, sequence) for name, sequence in flow.SEQUENCES.items()},
    **{name: partial(leaders.draw, scene) for name, scene in leaders.SCENES.items()},
    "phases": phases.draw,
    "layers": layers.draw,
    "scaling": scaling.draw,
    "forking-price": price.draw,
    "gil": gil.draw,
}

TABLES: dict[str, Callable[[], str]] = {
    "phases": phases.wants,
    "transitions": phases.transitions,
    "differences": strictness.differences,
    "metrics": metrics.reference,
    "gil-gains": gil.gains,
    "gil-scaling": gil.scaling,
    "gil-contention": gil.contention,
    **{f"from-{server}": partial(elsewhere.options, server) for server in SERVERS},
    "forking-pages": price.table,
    "modules-models": partial(layers.modules, "models", "_"),
    "modules-processes": partial(layers.modules, "processes", "[a-z]"),
}
