"""Writes the findings of a report: sentences about which contender (process model or server) is ahead, by how much, and
at which numbers of users.

A contender is said to be ahead of another only when the interval of their ratio, computed from runs of the same round,
says so (see `septet.lab.pairs`); that takes two or three rounds. The order may be certain although the figures
themselves are noisy; a sentence of its own says so. Servers that answered with errors are not ranked. A server for
which the load generator was the limit may be faster than measured: its figure is "at least", and no other is said to be
ahead of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from septet.lab.caveats import enumerated, spans
from septet.lab.evening import evened, rests_on_cpu_time
from septet.lab.experiment import Cell
from septet.lab.metric import Metric
from septet.lab.metrics import CPU, EVEN_CPU, EVEN_RATE, MEMORY, P99, RATE
from septet.lab.pairs import DECIDED, EQUAL, EQUAL_WITHIN, Pair, Standings
from septet.lab.ranking import basis, open_pairs, rankings
from septet.lab.report.pool_bound import pool_bound
from septet.lab.results import Results, run_of
from septet.lab.summary import Summary
from septet.lab.verdicts import RANKED, foreign_share

MOST_OF_THEM = 0.75
"""`focus` considers a number of users only if enough contenders (servers or process models) have served it. Enough is
this share of the largest number of contenders that any number of users has.
"""


def focus(cells: Sequence[Summary]) -> int:
    """Return the number of users at which the report compares contenders (servers or process models) side by side. It
    is the largest number that most of them have served, because they differ most when there are many users.
    """
    served = _served(cells)
    if not served:
        return max(cell.users for cell in cells)
    enough = MOST_OF_THEM * max(served.values())
    return max(users for users, contenders in served.items() if contenders >= enough)


def landmarks(cells: Sequence[Summary]) -> list[int]:
    """Return the numbers of users about which the report has sentences on all metrics: `focus`, and the largest number
    that at least two contenders (servers or process models) served, or, if there is none, the largest that one served.
    """
    served = _served(cells)
    several = [users for users, contenders in served.items() if contenders > 1]
    return sorted({focus(cells), max(several or served or [focus(cells)])})


def _served(cells: Sequence[Summary]) -> Counter[int]:
    return Counter(cell.users for cell in cells if cell.figures)


RUNS_MIN = 3
"""Least number of runs of a server or process model for which its figures have a confidence interval (see
`statistics.estimate`).
"""
OTHERS_SHARE_TOLD = 0.05
"""If other programs used at least this share of all CPUs in the median run, a sentence of the report says so."""
GROWTH = 1.25
"""A rate counts as no longer growing from the first number of users on at which it, times this factor, is at least as
high as the highest rate at any number of users.
"""
FALL = 1.5
"""A rate counts as fallen if its highest value, at any number of users, is more than this many times its value at the
largest number of users.
"""
CLIFF = 0.6
"""A sentence of the report tells of a fall if the requests per second drop below this share from one measured number of
users to the next larger one, their intervals included.
"""
NAMED_MAX = 3
"""A sentence names all contenders (servers or process models) behind the best one if there are at most this many of
them; else it names only the first and the last of them.
"""


EVENED = "{leader} would serve {value} requests/s if it had its CPUs alone (evened)"
"""The text about the best contender (server or process model) in place of that in SENTENCES, if its rate is evened:
computed from CPU time, as if no other program had used the CPUs.
"""
SENTENCES: tuple[tuple[Metric, str, str], ...] = (
    (RATE, "{leader} served {least}{value} requests/s", "{ratio} {label}"),
    (P99, "99 of 100 visitors waited {most}{value} ms or less under {leader}", "{ratio} that under {label}"),
    (CPU, "a request cost {leader} {value} µs of CPU time", "{label} {ratio} that"),
    (MEMORY, "{leader} took {value} MB", "{label} {ratio} that"),
)
"""The sentences that rank contenders (servers or process models), one for each of these metrics: (metric, text about
the best one, text about each that is behind it).
"""


def findings(results: Results, cells: Sequence[Summary]) -> list[str]:
    """Return the findings of the report (who is ahead, and by how much) as sentences, the most important first. `cells`
    are the summaries of the results, one for each server or process model at each number of users.
    """
    if not cells:
        return ["Nothing has been measured yet."]
    said = [sentence for sentence in (others_share(results), _end(results, cells)) if sentence]
    if results["finished"] is None:
        said.append("The experiment was interrupted: some of its cells are missing.")
    if not any(cell.figures for cell in cells):
        return [*said, "Every cell failed; the reasons are below."]
    found = {metric.key: rankings(results, cells, metric) for metric, _, _ in SENTENCES}
    bases = {metric.key: basis(results, metric) for metric, _, _ in SENTENCES}
    told = landmarks(cells)
    computed = _computed(results)
    for users in sorted({cell.users for cell in cells}):
        here = [cell for cell in cells if cell.users == users]
        if users in told:
            said += _at(here, users, {key: each[users] for key, each in found.items()}, bases, computed)
            said += [full] if (full := pool_bound(results, here)) is not None else []
        elif order := _order(found[RATE.key][users], f"At {users:,} users"):
            said.append(order)
    said += _down_the_columns(cells, bases[RATE.key])
    said += _cliffs(cells) + _broken(cells, "failed", "Failed")
    refused = [cell for cell in cells if not cell.served or cell.verdict != "errors"]
    waiting = [cell for cell in cells if cell.served or cell.verdict != "errors"]
    return [
        *said,
        *_broken(refused, "errors", "Answered with errors"),
        *_broken(waiting, "errors", "Not every user had an answer in the measured time"),
    ]


def others_share(results: Results) -> str | None:
    """Return a sentence about the share of the CPUs that other programs used during the runs. None if that was less
    than OTHERS_SHARE_TOLD in the median run, or is not known.
    """
    cpus = results["machine"].get("cpus") or 1
    shares = [share for record in results["runs"] if (share := foreign_share(record, cpus)) is not None]
    if not shares or median(shares) < OTHERS_SHARE_TOLD:
        return None
    usual, most = (min(1.0, share) for share in (median(shares), max(shares)))  # ticks may make it a little more
    so = ", so the order rests on CPU time of a request, which they change little" * rests_on_cpu_time(results)
    return f"Other programs used {usual:.0%} of the CPUs meanwhile (up to {most:.0%} in a run){so}."


def _end(results: Results, cells: Sequence[Summary]) -> str | None:
    """Return a sentence that says why `bench --for TIME` ended: the order of all neighbours in the ranking was settled,
    or the time was up. None for other experiments.
    """
    if results.get("ended") is None:
        return None
    found = rankings(results, cells)
    still, pairs = len(open_pairs(found)), sum(len(each.neighbours) for each in found.values())
    if not still:
        return f"Every pair of neighbours is decided, or equal within {EQUAL_WITHIN:.0%}: it ended with that."
    return f"Time was up with {still} of {pairs} pairs of neighbours open; a longer --for may decide them."


def _computed(results: Results) -> frozenset[Cell]:
    """Return the cells (a server or process model at one number of users) that were limited by CPU time. If a ranking
    uses evened rates (corrected for other programs on the machine), theirs are computed from CPU time; those of other
    cells are the measured ones.
    """
    measured = [record for record in evened(results) if record["verdict"] != "failed"]
    return frozenset(run_of(record).cell for record in measured if record["evened"]["cpu_limited"])


def _at(
    cells: Sequence[Summary],
    users: int,
    found: Mapping[str, Standings],
    bases: Mapping[str, Metric],
    computed: frozenset[Cell],
) -> list[str]:
    """Return the findings of the report about one number of users, as sentences; `cells` are the summaries of that
    number, one for each contender (server or process model).

    `found` has the ranking by each metric of SENTENCES, and `bases` the metric from which it was computed, both by the
    metric's key. `computed` are the cells (contenders at one number of users) whose evened rates are computed from CPU
    time.
    """
    where = f"At {users:,} users"
    said = []
    for metric, opening, other in SENTENCES:
        by = bases[metric.key]
        order = found[metric.key].order
        leads = next((cell.cell for cell in cells if order and cell.label == order[0]), None)
        opening = EVENED if by is EVEN_RATE and leads in computed else opening
        shown = metric if by is EVEN_CPU else by  # the figure of the tables; only ratios are of evened CPU times
        told = _ranking(shown, cells, found[metric.key], where, opening, other)
        said += [told] if told else []
        if metric is RATE and (fastest := _order(found[metric.key], where)):
            said.append(fastest)
    if cut := [cell.label for cell in cells if cell.is_cut]:
        said.append(f"{where} the runs were too short for the latencies of {enumerated(cut)}: true ones are longer.")
    noisy = [cell.label for cell in cells if cell.verdict == "noisy"]
    if noisy and any(pair.outcome == DECIDED for pair in found[RATE.key].pairs.values()):
        said.append(f"{where} the figures of {enumerated(noisy)} are noisy; the stated order is sure all the same.")
    elif noisy:
        said.append(f"{where} the figures of {enumerated(noisy)} are noisy.")
    doubtful = [f"{cell.label} ({cell.verdict})" for cell in cells if not cell.is_ranked and cell.verdict != "failed"]
    if doubtful:
        said.append(f"{where} not ranked: {enumerated(doubtful)}.")
    return said


def _order(found: Standings, where: str) -> str | None:
    """Return a sentence that begins with `where`, such as "At 100 users", and lists all contenders (servers or process
    models) in groups whose order is certain. None if there are only two contenders, or if all are in one group.
    """
    tiers = found.tiers
    if len(found.order) < 3 or len(tiers) < 2:
        return None
    return f"{where}, the fastest first: {'; '.join(_tier(found, tier) for tier in tiers)}."


def _tier(found: Standings, tier: Sequence[str]) -> str:
    outcomes = {pair.outcome for pair in found.pairs.values() if {pair.ahead, pair.behind} <= {*tier}}
    if not outcomes:
        return tier[0]
    if outcomes == {EQUAL}:
        return f"{enumerated(tier)} (equal within {EQUAL_WITHIN:.0%})"
    return f"{enumerated(tier)} (not all of their order is decided)"


def _ranking(
    metric: Metric, cells: Sequence[Summary], found: Standings, where: str, opening: str, other: str
) -> str | None:
    """Return a sentence that says which contender (server or process model) is best in `metric`, by how much, and which
    ones cannot be told from it. It begins with `where`, such as "At 100 users". `opening` and `other`, from SENTENCES,
    are the texts about the best one and about those behind it.

    None if no contender has the figure. If too few rounds were measured, the sentence only lists the rates; for other
    metrics there is none.
    """
    known = {cell.label: cell for cell in cells if cell.label in found.order}
    if not known:
        return None
    if _too_few(found, [*known.values()]):
        return _unranked(metric, [*known.values()], where) if metric in (RATE, EVEN_RATE) else None
    leader = known[found.order[0]]
    pairs = [found.pair(leader.label, label) for label in found.order[1:]]
    behind = [pair for pair in pairs if pair.outcome == DECIDED and pair.ahead == leader.label]
    level = [pair for pair in pairs if pair not in behind]
    if level and not behind:
        figures = [f"{label} {_figure(metric, known[label])}" for label in found.order]
        return f"{where} none is surely ahead in {_subject(metric)}: {enumerated(figures)} {metric.unit}{_how(level)}."
    words = {"leader": leader.label, "value": _value(metric, leader)}
    limited = _limited(metric, leader)
    said = f"{where} {opening.format(**words, least='at least ' * limited, most='at most ' * limited)}"
    if behind:
        next_is = " (next)" if found.order[1] == behind[0].behind else " (the next that is decided)"
        named = _named(behind, next_is)
        told = [other.format(label=pair.behind + place, ratio=_ratio(pair, limited)) for pair, place in named]
        said += f", {enumerated(told)}" if metric.more_is_better else f"; {enumerated(told)}"
    return said + "".join(f". {sentence}" for sentence in _level(leader.label, level)) + "."


def _too_few(found: Standings, cells: Sequence[Summary]) -> bool:
    """True if too few rounds were measured to rank contenders (servers or process models): no ratio of two of them has
    a confidence interval, or, if there is only one contender, its figure has none.
    """
    if not found.pairs:
        return max(cell.runs for cell in cells) < RUNS_MIN
    return all(pair.ratio.low is None for pair in found.pairs.values())


def _level(leader: str, level: Sequence[Pair]) -> list[str]:
    """Return sentences that name the contenders (servers or process models) which are not certainly behind the best
    one, `leader`: those that equal it, and those not yet told from it. `level` has their comparisons with the leader.
    """
    said = []
    for outcome, one, several in (
        (EQUAL, f"equals it within {EQUAL_WITHIN:.0%}", f"equal it within {EQUAL_WITHIN:.0%}"),
        (None, "is not told from it yet", "are not told from it yet"),
    ):
        labels = [
            pair.behind if pair.ahead == leader else pair.ahead
            for pair in level
            if (pair.outcome == EQUAL) is (outcome == EQUAL)
        ]
        if labels:
            said.append(f"{enumerated(labels)} {one if len(labels) == 1 else several}")
    return said


def _how(level: Sequence[Pair]) -> str:
    return f", equal within {EQUAL_WITHIN:.0%}" if all(pair.outcome == EQUAL for pair in level) else ""


def _limited(metric: Metric, cell: Summary) -> bool:
    return cell.verdict == "client-limited" and metric in (RATE, P99)


def _value(metric: Metric, cell: Summary) -> str:
    found = metric.estimate(cell.figures)
    assert found is not None, "it is ranked by this figure"
    return "about " * (cell.verdict == "noisy") + _rounded(found.median)


def _figure(metric: Metric, cell: Summary) -> str:
    limit = ("at least " if metric.more_is_better else "at most ") if _limited(metric, cell) else ""
    return limit + _value(metric, cell)


def _unranked(metric: Metric, cells: Sequence[Summary], where: str) -> str:
    figures = [
        f"{cell.label} {'at least ' * (cell.verdict == 'client-limited')}{_rounded(found.median)}"
        for cell in cells
        if (found := metric.estimate(cell.figures)) is not None
    ]
    unit = metric.unit + " (evened)" * (metric is EVEN_RATE)
    if len(figures) == 1:
        return f"{where} {figures[0]} {unit}; fewer than three runs, so how exact that is cannot be told."
    return f"{where} {enumerated(figures)} {unit}; too few rounds, so differences cannot be told from noise."


def _named(behind: list[Pair], next_is: str) -> list[tuple[Pair, str]]:
    """Return the comparisons with the best contender that a sentence names: all of `behind` if these are at most
    NAMED_MAX, else the first and the last. Each comes with a text that follows the name: "" if all are named, else
    `next_is` or "(last)" after a space.
    """
    if len(behind) <= NAMED_MAX:
        return [(each, "") for each in behind]
    return [(behind[0], next_is), (behind[-1], " (last)")]


def _ratio(pair: Pair, limited: bool) -> str:
    """Return the interval of a ratio of two figures as text, such as "1.2 to 1.5 times". It is "at least 1.2 times" if
    the interval has no upper end, or if the load generator was the limit of the better one (`limited`).
    """
    _, low, high = pair.ratio
    assert low is not None, "it was decided by its interval"
    if limited or high is None:
        return f"at least {_times(low)} times"
    first, last = _times(low), _times(high)
    return f"{first} times" if first == last else f"{first} to {last} times"


def _times(ratio: float) -> str:
    """Return a ratio as text: with two decimals below 2, one below 10, and none above."""
    decimals = 2 if ratio < 1.995 else 1 if ratio < 9.95 else 0
    return f"{ratio:,.{decimals}f}"


def _subject(metric: Metric) -> str:
    if metric.chart is None:
        return "requests per second, evened" if metric is EVEN_RATE else metric.meaning
    return metric.chart.subject


def _rounded(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.10g}"


def _down_the_columns(cells: Sequence[Summary], by: Metric) -> list[str]:
    """Return a list of one sentence that says how the rate of each contender (server or process model) changes with
    more users. It is empty if no contender has a rate at every number of users. `by` is the metric of the rate.
    """
    axis = sorted({cell.users for cell in cells})
    turns: dict[str, list[str]] = {}
    for line in _lines(cells):
        told = [(cell.users, found.median) for cell in line if cell.is_ranked and (found := by.estimate(cell.figures))]
        if len(told) == len(axis) > 1:
            turns.setdefault(_turn(told), []).append(line[0].label)
    clauses = [f"{enumerated(labels)} {words}" for words, labels in turns.items()]
    how = ", evened" * (by is EVEN_RATE)
    return [f"With more users, from {axis[0]:,} to {axis[-1]:,}{how}: {'; '.join(clauses)}."] if clauses else []


def _turn(told: Sequence[tuple[int, float]]) -> str:
    """Return in words how a rate changes with the number of users: it grows, stops growing, or falls. `told` has pairs
    (number of users, requests per second), with the smallest number of users first.
    """
    rates = [rate for _, rate in told]
    most = max(rates)
    # The first number of users at which nearly the most is served.
    users, _ = next(each for each in told if each[1] * GROWTH >= most)
    if rates[-1] * FALL < most:
        return f"fell from {_rounded(most)} requests/s at {told[rates.index(most)][0]:,} to {_rounded(rates[-1])}"
    if users == told[0][0]:
        return "served about as many requests as with few"
    growth = f"served {_times(most / rates[0])} times as many requests"
    return growth if users == told[-1][0] else f"{growth}, and no more beyond {users:,} users"


def _cliffs(cells: Sequence[Summary]) -> list[str]:
    """Return a sentence about each contender (server or process model) whose requests per second fall suddenly (below
    CLIFF) from one number of users to the next; it tells of the largest such fall.
    """
    said = []
    for line in _lines(cells):
        told = [(cell, found) for cell in line if cell.verdict in RANKED and (found := RATE.estimate(cell.figures))]
        falls = [
            (after[1].median / before[1].median, before, after)
            for before, after in pairwise(told)
            if before[1].low is not None and after[1].high is not None and after[1].high < CLIFF * before[1].low
        ]
        if falls:
            _, (before, high), (after, low) = min(falls, key=lambda fall: fall[0])
            said.append(
                f"{before.label} fell from {_rounded(high.median)} requests/s at {before.users:,} users "
                f"to {_rounded(low.median)} at {after.users:,}."
            )
    return said


def _broken(cells: Sequence[Summary], verdict: str, words: str) -> list[str]:
    """Return a list of one sentence: the text `words`, and then each contender (server or process model) whose runs
    have this verdict at some number of users, with those numbers of users. The list is empty if there is no such
    contender.
    """
    found = []
    axis = sorted({cell.users for cell in cells})
    for line in _lines(cells):
        users = [cell.users for cell in line if cell.verdict == verdict]
        if users:
            tail = [cell.users for cell in line][-len(users) :]
            where = f"at {spans(users, axis)} users"
            if len(users) > 1 and users == tail:
                where = "everywhere" if len(users) == len(line) else f"from {users[0]:,} users on"
            found.append(f"{line[0].label} {where}")
    return [f"{words}: {'; '.join(found)}."] if found else []


def _lines(cells: Sequence[Summary]) -> list[list[Summary]]:
    lines: dict[str, list[Summary]] = {}
    for cell in cells:
        lines.setdefault(cell.label, []).append(cell)
    return list(lines.values())
