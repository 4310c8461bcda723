"""The runs of `septet bench --for TIME`: rounds of runs, until the ranking is decided or the time is up.

The first rounds run every cell (a contender, which is a server or process model, at one number of users). Later rounds
run only the cells of contenders whose order with a neighbour in the ranking is open: not decided, and not equal within
5 % either. Contenders whose order is decided are measured no further.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Set

from septet.lab.experiment import Cell, Experiment, Run
from septet.lab.ranking import FIRST_ROUNDS, open_cells, rankings, state
from septet.lab.results import Results, run_of
from septet.lab.summary import summaries

OVERTIME = 0.1
"""Share of the time of an experiment by which its first round may exceed it."""
DECIDED, TIME = "decided", "time"
"""Why an experiment with --for ended, as `ended` in results.json: the order of all contenders (servers or process
models) was decided, or the time was up.
"""


def until_decided(
    experiment: Experiment,
    recorded: Results,
    tell: Callable[[str], None] = lambda state: None,
    now: Callable[[], float] = time.monotonic,
    kept_s: float = 0.0,
) -> Iterator[Iterator[Run]]:
    """Yield the runs of each round, one number of users after another. Before each group of runs `tell` is called with
    a sentence on the ranking so far, if there is one.

    Every cell (a server or process model at one number of users) is run once in any case, however long it takes,
    because a cell without a run says nothing. The first round may take a little longer than there is time (OVERTIME),
    because two runs of a cell decide nothing. If an experiment is resumed, recorded runs are not repeated, and count
    towards the time. The records of a round must be stored before the next round is asked for. The last `kept_s`
    seconds of the time are not used.
    """
    end = now() + left_s(experiment, recorded) - kept_s
    done = {run_of(record) for record in recorded["runs"]}
    place = max(((run.repeat - 1) // experiment.turns + 1 for run in done), default=1)
    while cells := _cells(experiment, recorded, place):
        for block in experiment.round(cells, place):
            if place > 1 or recorded["runs"]:
                tell(state(rankings(recorded, summaries(recorded), is_at_end=False)))
            until = end + OVERTIME * (experiment.for_s or 0.0) if place == 1 else end
            yield _in_time(block, done, now, until)
            if place > 1 and now() >= end:
                recorded["ended"] = TIME
                return
        place += 1
    recorded["ended"] = DECIDED


def left_s(experiment: Experiment, recorded: Results) -> float:
    """Return how many seconds of the time of an experiment with --for are left, after what its recorded runs took."""
    assert experiment.for_s is not None, "it has a limit in time"
    took_s: float = sum(record.get("took_s", 0.0) for record in recorded["runs"])
    return experiment.for_s - took_s


def _in_time(runs: Sequence[Run], done: Set[Run], now: Callable[[], float], until: float) -> Iterator[Run]:
    """Yield those of `runs` that are not in `done`, until the time is over. The first run of each cell (a server or
    process model at one number of users) is yielded even then.
    """
    for run in runs:
        if run.repeat > 1 and now() >= until:
            return
        if run not in done:
            yield run


def _cells(experiment: Experiment, recorded: Results, place: int) -> list[Cell]:
    """Return the cells (a cell is a server or process model at one number of users) that are run in round number
    `place`, counted from 1. In the first rounds these are all, later those whose order in the ranking is not decided.
    """
    return experiment.cells() if place <= FIRST_ROUNDS else open_cells(recorded, experiment.cells())
