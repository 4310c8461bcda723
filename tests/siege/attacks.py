"""The attacks: what each does, under which models and interfaces, and where it takes all that the model has."""

from collections.abc import Callable
from dataclasses import dataclass

from siege import abrupt, shortage, slow, workers
from siege.field import Field
from support.models import LOOPS, MODELS, WITH_WORKERS

FEW_AT_ONCE = ("iterative", "preforked", "prethreaded", "forking")
"""Models in which 300 clients at once keep others waiting: they have a fixed number of threads or processes with one
client each; forking starts a process for each, which takes seconds for so many."""

ASGI_MODELS = ("threaded", "prethreaded", "epoll", "io_uring")
"""An ASGI application runs on the loop that moves the bytes, or on one in a thread of its own: two of each."""


@dataclass(frozen=True)
class Attack:
    """`run` attacks. The first line of its docstring tells of it."""

    run: Callable[[Field], None]
    weight: float = 1.0
    """Its share of the time."""
    models: tuple[str, ...] = MODELS
    waits: tuple[str, ...] = ()
    """Models under which others wait until the attackers have gone."""
    workers: int = 0
    asgi: bool = False
    """ASGI differs: a request ends otherwise."""

    @property
    def name(self) -> str:
        return self.run.__name__.replace("_", "-")

    @property
    def about(self) -> str:
        return (self.run.__doc__ or "").partition("\n")[0]

    def options(self, model: str) -> list[str]:
        if model == "preforked":
            return ["--workers", "4"]
        return ["--workers", str(self.workers)] if self.workers and model in WITH_WORKERS else []

    def interfaces(self, model: str) -> tuple[str, ...]:
        return ("wsgi", "asgi") if self.asgi and model in ASGI_MODELS else ("wsgi",)


ATTACKS = (
    Attack(workers.stalled_worker, models=WITH_WORKERS, workers=3),
    Attack(workers.killed_workers, workers=4),
    Attack(slow.slow_heads, waits=FEW_AT_ONCE),
    Attack(slow.slow_bodies, waits=FEW_AT_ONCE, asgi=True),
    Attack(slow.slow_readers, waits=FEW_AT_ONCE, asgi=True),
    Attack(slow.idle, models=LOOPS, weight=2.0),
    Attack(slow.half_closed, asgi=True),
    Attack(slow.paused_client),
    Attack(abrupt.resets, waits=("forking",), workers=2, weight=2.0, asgi=True),
    Attack(abrupt.aborted_uploads, waits=("forking",), weight=3.0, asgi=True),
    Attack(abrupt.nonsense, waits=("forking",), workers=2),
    Attack(abrupt.pipelining),
    Attack(shortage.few_descriptors, waits=MODELS, asgi=True),
    Attack(shortage.full_disk),
    Attack(workers.storm_at_the_end, workers=2, asgi=True),
)

BY_NAME = {attack.name: attack for attack in ATTACKS}
