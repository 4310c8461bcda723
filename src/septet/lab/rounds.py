"""The runs of `septet bench --for TIME`: rounds of runs, until the ranking is decided or the time is up.

The first rounds visit every cell. Later rounds visit only the cells of neighbours in the ranking whose order is open:
not decided, and not equal within 5 % either. Contenders whose order is decided are measured no further.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.ranking import FIRST_ROUNDS, open_cells, rankings, state
from septet.lab.results import Results, run_of
from septet.lab.summary import summaries

DECIDED, TIME = "decided", "time"
"""Why an experiment with --for ended, as `ended` in results.json: all pairs were decided, or the time was up."""


def until_decided(
    experiment: Experiment,
    recorded: Results,
    tell: Callable[[str], None] = lambda state: None,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Run]:
    """Yield the runs one by one; the caller records each in `recorded` before it takes the next.

    Before each round but the first, `tell` is called with a sentence on the ranking so far. The first round is
    completed even when the time is up: a cell without a run has no figures. Runs that are recorded already, when an
    experiment is resumed, are not repeated, and count towards the time.
    """
    assert experiment.for_s is not None, "it has a limit in time"
    begun = now() - sum(record.get("took_s", 0.0) for record in recorded["runs"])
    done = {run_of(record) for record in recorded["runs"]}
    place = max((run.repeat for run in done), default=1)
    while cells := _cells(experiment, recorded, place):
        if place > 1:
            tell(state(rankings(recorded, summaries(recorded))))
        for run in experiment.round(cells, place):
            if place > 1 and now() - begun >= experiment.for_s:
                recorded["ended"] = TIME
                return
            if run not in done:
                yield run
        place += 1
    recorded["ended"] = DECIDED


def _cells(experiment: Experiment, recorded: Results, place: int) -> list[Cell]:
    """Return the cells of round number `place`, from 1: all in the first rounds, later the open ones."""
    return experiment.cells() if place <= FIRST_ROUNDS else open_cells(recorded, experiment.cells())
