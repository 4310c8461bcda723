"""The runs of `septet bench --for TIME`: rounds of runs, until the ranking is decided or the time is up.

The first round of each number of users runs every cell (a contender, which is a server or process model, at one number
of users). Later rounds run only the cells of contenders whose order with a neighbour in the ranking is open: not
decided, and not equal within 5 % either. Contenders whose order is decided are measured no further. Each later round is
for the number of users where most is open for the time that it has had.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace

from septet.lab.experiment import Experiment, Run
from septet.lab.ranking import open_cells, open_pairs, rankings, state
from septet.lab.results import Results, run_of
from septet.lab.summary import summaries

OVERTIME = 0.1
"""Share of the time of an experiment by which its first round may exceed it."""
DECIDED, TIME = "decided", "time"
"""Why an experiment with --for ended, as `ended` in results.json: the order of all contenders (servers or process
models) was decided, or the time was up.
"""
SHORT_SHARE = 0.25
"""The shortest window, as a share of the usual one, and with it the usual turns of a round are SHORT_TURNS."""
SHORT_TURNS = 12
ANSWERS_IN_SHORT = 40
"""A short window lasts at least as long as this many answers, one after the other, to one of the users."""


def with_short_windows(experiment: Experiment, alone: Mapping[str, float]) -> Experiment:
    """Return the experiment with shorter windows, and more turns in each round, at the numbers of users where answers
    come so soon that these suffice.

    A CPU whose sibling others use changes its speed from one tenth of a second to the next. Between visits that follow
    one another soon it changes less, and of many visits each has another speed. So many short visits in turn say more
    in the same time than a few long ones, if what lies between them is short, too. Nothing is changed if the load comes
    from several processes, which take longer to begin.

    `alone`: the figures `least_us` and `cpu_us` of a single user (see `septet.lab.bench.preflight`); may be empty.
    """
    if not alone or experiment.cluster or len(experiment.pinned.client) > 1:
        return experiment
    shortest_s, short = SHORT_SHARE * experiment.duration_s, []
    for users in experiment.users:
        answer_s = max(alone["least_us"], users * alone["cpu_us"]) / 1e6
        window_s = round(max(shortest_s, ANSWERS_IN_SHORT * answer_s), 3)
        if window_s <= 2 * shortest_s:
            short.append((users, window_s))
    return replace(experiment, short=tuple(short), short_turns=SHORT_TURNS)


def until_decided(
    experiment: Experiment,
    recorded: Results,
    tell: Callable[[str], None] = lambda state: None,
    now: Callable[[], float] = time.monotonic,
    kept_s: float = 0.0,
) -> Iterator[Iterator[Run]]:
    """Yield the runs of each round, which has one number of users. Before each of them `tell` is called with a sentence
    on the ranking so far, if there is one.

    Every cell (a server or process model at one number of users) is run once in any case, however long it takes,
    because a cell without a run says nothing. The first rounds may take a little longer than there is time (OVERTIME),
    because two runs of a cell decide nothing. If an experiment is resumed, recorded runs are not repeated, and count
    towards the time. The records of a round must be stored before the next round is asked for. The last `kept_s`
    seconds of the time are not used.
    """
    end = now() + left_s(experiment, recorded) - kept_s
    done = {run_of(record) for record in recorded["runs"]}
    places = Counter(dict.fromkeys(experiment.users, 1))
    for run in done:
        places[run.cell.users] = max(places[run.cell.users], experiment.place(run))
    begun = [users for users, place in places.items() if place > 1]
    for block in experiment.round(experiment.cells(), 1):
        if block[0].cell.users not in begun:
            if recorded["runs"]:
                tell(state(rankings(recorded, summaries(recorded), is_at_end=False)))
            yield _in_time(block, done, now, end + OVERTIME * (experiment.for_s or 0.0))
    while True:
        found = rankings(recorded, summaries(recorded), is_at_end=False)
        if not (pairs := open_pairs(found)):
            recorded["ended"] = DECIDED
            return
        if now() >= end:
            recorded["ended"] = TIME
            return
        if begun:  # its round may have been interrupted
            users = begun.pop()
        else:
            users = _most_open(Counter(users for users, _ in pairs), recorded)
            places[users] += 1
        cells = [cell for cell in open_cells(found, experiment.cells()) if cell.users == users]
        for block in experiment.round(cells, places[users]):
            tell(state(found))
            yield _in_time(block, done, now, end)


def _most_open(pairs: Counter[int], recorded: Results) -> int:
    """Return the number of users where most pairs are open for each second of the runs that it has had. `pairs`: the
    number of open pairs of neighbours, by the number of users.
    """
    took_s: Counter[int] = Counter()
    for record in recorded["runs"]:
        took_s[record["users"]] += record.get("took_s", 0.0)
    return max(pairs, key=lambda users: pairs[users] / (took_s[users] or 1.0))


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
