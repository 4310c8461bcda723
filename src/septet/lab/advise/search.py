"""Decides which candidate to measure next.

There are hundreds of combinations of a model, workers, loops and threads, and only minutes for all. The first rule of
`RULES` that has a step to propose decides, and its reason is printed. A candidate is measured in two ways. A
*saturation run*, a second under as many users as it can serve, shows its highest rate, which is called its saturated
rate. The *capacity search*, several trials long, shows its highest rate within the latency target, and is made only
where the saturated rate comes near the best capacity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from septet.lab.advise.candidates import LOOPS, POOL, PROCESSES, Candidate, Finding, Look, Search, Step
from septet.lab.advise.choice import ALIKE, first_two
from septet.lab.advise.trial import milliseconds

THREADS_FIRST = 8
THREADS_MAX = 512
GAIN = 1.10
"""The number of threads is doubled again if the last doubling multiplied the rate of the saturation run by this factor
or more.
"""
TAKEN = 0.85
"""Little's law gives the rate at which all threads of a candidate would be busy. All of them count as busy if the
measured rate is at least this share of that rate.
"""
MEMORY_SHARE = 0.8
"""Share of the usable memory that server processes may fill."""
PROCESSES_MAX = 32


def next_step(search: Search, in_time: bool = True) -> Step | None:
    """Return the step of the search to take next; None when nothing is left to measure.

    `in_time` is False when most of the time is used: then only the best candidates are checked (LAST_RULES).
    """
    rules = RULES if in_time else LAST_RULES
    steps = (step for rule in rules for step in rule(search) if step.candidate.model in search.situation.models)
    return next((step for step in steps if _is_new(search, step)), None)


def _is_new(search: Search, step: Step) -> bool:
    finding = search.findings.get(step.candidate)
    if finding is None:
        return True
    if finding.saturation is not None and finding.saturation.answered_nothing:
        return False
    known = {Look.SATURATION: finding.saturation, Look.CAPACITY: finding.bracket, Look.CHECK: finding.checked or None}
    return known[step.look] is None


Rule = Callable[[Search], Iterable[Step]]


def _whole(search: Search, candidate: Candidate, reason: str) -> Iterable[Step]:
    """Yield the steps for one candidate: a saturation run, which shows its highest rate, and then a capacity search, if
    `search.promises` says that this rate is high enough to be worth it.
    """
    yield Step(candidate, Look.SATURATION, reason)
    if search.promises(candidate):
        yield _capacity_step(search, candidate)


def _capacity_step(search: Search, candidate: Candidate) -> Step:
    return Step(candidate, Look.CAPACITY, f"it carries {search.of(candidate).most:,.0f}/s when saturated")


def _begin_with_a_loop(search: Search) -> Iterable[Step]:
    first = next((name for name in LOOPS[1:] + LOOPS[:1] if name in search.situation.models), None)
    if first is not None:
        reason = "one process and its own number of threads: what everything else has to beat"
        yield Step(Candidate(first), Look.SATURATION, reason)
        if not search.situation.profile.blocks:
            yield _capacity_step(search, Candidate(first))


def _threads_where_it_waits(search: Search) -> Iterable[Step]:
    """Rule for an application whose requests wait and hold a thread meanwhile: double the number of threads while that
    raises the rate of the saturation run by the factor GAIN.
    """
    if not search.situation.profile.blocks:
        return
    pool = search.pool
    yield Step(Candidate(pool, threads=THREADS_FIRST), Look.SATURATION, _why_threads(search))
    rungs = search.ladder(pool, "threads")
    if (next_rung := _next_rung(search, rungs)) is not None:
        most = rungs[-1][1].most
        gained = f"{rungs[-1][0]} threads carry {most:,.0f}/s"
        before = f", {most / max(1.0, rungs[-2][1].most):.1f} times what {rungs[-2][0]} do" if len(rungs) > 1 else ""
        reason = f"{gained}{before}: do twice as many carry more?"
        yield Step(Candidate(pool, threads=next_rung), Look.SATURATION, reason)
    elif rungs:
        number, finding = enough(rungs)
        if search.promises(finding.candidate):
            reason = f"{number} threads carry {finding.most:,.0f}/s when saturated, and more of them hardly more"
            yield Step(finding.candidate, Look.CAPACITY, reason)


def _why_threads(search: Search) -> str:
    situation = search.situation
    profile = situation.profile
    return (
        f"a request waits {milliseconds(profile.wait_s)} and computes {milliseconds(profile.cpu_s)}: while one waits "
        f"others may run; by Little's law about {profile.at_once(situation.cpus):,} at once use the CPU up"
    )


def _next_rung(search: Search, rungs: list[tuple[int, Finding]]) -> int | None:
    """Return the next number of threads to measure: twice the largest so far. None if nothing was measured or answered,
    if the last doubling raised the rate by less than the factor GAIN, or if the next number would be more than
    THREADS_MAX or twice the users.

    `rungs`: (number of threads, finding) of each number measured, in ascending order.
    """
    if not rungs or rungs[-1][1].most == 0:
        return None
    number, finding = rungs[-1]
    if len(rungs) > 1 and finding.most < GAIN * rungs[-2][1].most:
        return None
    most = min(THREADS_MAX, 2 * search.situation.users)
    return 2 * number if 2 * number <= most else None


def enough(rungs: Sequence[tuple[int, Finding]]) -> tuple[int, Finding]:
    """Return, of the pairs in `rungs`, the one with the smallest number whose rate in the saturation run is at least
    ALIKE (95 %) of the best rate.

    `rungs`: pairs of a number of threads or workers and what was measured with it, sorted by number, at least one.
    """
    best = max(finding.most for _, finding in rungs)
    return next(pair for pair in rungs if pair[1].most >= ALIKE * best)


def _threads_beside_a_loop(search: Search) -> Iterable[Step]:
    rungs = search.ladder(search.pool, "threads")
    loop = next((name for name in LOOPS[1:] if name in search.situation.models), None)
    if search.situation.profile.blocks and rungs and loop is not None:
        number, _ = enough(rungs)
        reason = f"the same {number} threads beside a loop, which keeps idle clients from holding a thread"
        yield from _whole(search, Candidate(loop, threads=number), reason)


def _a_thread_for_each(search: Search) -> Iterable[Step]:
    if search.situation.profile.blocks:
        yield from _whole(search, Candidate("threaded"), "a thread for each client: no number to choose")


def _more_threads_where_all_are_taken(search: Search) -> Iterable[Step]:
    """Rule: if all threads of the best candidate were busy, measure that candidate with twice as many threads. The
    number of threads was found with another model, whose own limit may be lower.
    """
    best, situation = search.best, search.situation
    if best is None or not situation.profile.blocks or not best.candidate.threads:
        return
    candidate = best.candidate
    slots = candidate.at_once(False, situation.users, situation.cpus)
    if best.most >= TAKEN * slots / situation.profile.wall_s and 2 * best.candidate.threads <= THREADS_MAX:
        more = replace(candidate, threads=2 * best.candidate.threads)
        yield from _whole(
            search, more, f"all {slots} places in the application were taken: do twice as many carry more?"
        )


def _loop_after_all(search: Search) -> Iterable[Step]:
    """Rule: make a capacity search of the event loop with its default number of threads, if `search.promises` says that
    its rate in the saturation run is high enough to be worth it.

    For an application that waits, the search begins with a saturation run of this candidate and nothing more. If more
    threads gained little, this candidate may be as good as those with more threads.
    """
    first = next((each for each in search.findings if each.model in LOOPS and each.threads is None), None)
    if first is not None and search.promises(first):
        yield _capacity_step(search, first)


def _do_threads_gain(search: Search) -> Iterable[Step]:
    profile = search.situation.profile
    if not profile.waits and not profile.asynchronous:
        number = THREADS_FIRST
        reason = f"to see whether threads gain anything, since it hardly waits ({milliseconds(profile.wait_s)})"
        if not search.situation.has_gil:
            number = max(number, search.situation.cpus)
            reason = "a pool of threads, which compute at the same time: this Python runs without the GIL"
        yield from _whole(search, Candidate(POOL, threads=number), reason)


def _the_other_loop(search: Search) -> Iterable[Step]:
    profile = search.situation.profile
    if profile.asynchronous or not profile.waits:
        yield from _whole(search, Candidate("io_uring"), "the same loop, moved by completions instead of readiness")


def _the_loop_alone(search: Search) -> Iterable[Step]:
    """Rule: make a saturation run of the event loop with --threads 0, only to report what that would bring; see
    `Candidate.is_loop_alone`.
    """
    profile = search.situation.profile
    first = next((each for each in search.findings if each.model in LOOPS and each.threads is None), None)
    if first is not None and not profile.waits and not profile.asynchronous:
        reason = "the loop alone calls the application: what would that bring? (it is not advised)"
        yield Step(Candidate(first.model, threads=0), Look.SATURATION, reason)


def _single(search: Search) -> Candidate | None:
    """Return the candidate with one process, and one loop in it, that has the highest capacity; None if none has one.

    Without a GIL only candidates with an event loop count if there are any, because a pool of threads uses several CPUs
    as it is.
    """
    single = [
        each
        for each in search.findings.values()
        if each.candidate.processes == 1 and each.candidate.loops is None and each.capacity
    ]
    if not search.situation.has_gil:
        single = [each for each in single if each.candidate.model in LOOPS] or single
    best = max(single, key=lambda finding: finding.capacity, default=None)
    return best.candidate if best is not None else None


def _loops_for_the_cpus(search: Search) -> Iterable[Step]:
    """Rule for a Python without a GIL: take the best candidate with a single event loop, and measure it with 2, 4, ...
    loops in its process, as `_processes_for_the_cpus` does with workers.
    """
    base, cpus = _single(search), search.situation.cpus
    if not search.situation.has_gil and base is not None and base.model in LOOPS:
        reason = f"this Python runs without the GIL: loops of one process may use the {cpus} CPUs, and share its memory"
        yield from _more_for_the_cpus(search, base, "loops", reason)


def _processes_for_the_cpus(search: Search) -> Iterable[Step]:
    """Rule: take the best candidate with a single process, and measure it with 2, 4, ... workers, up to one for each
    CPU. Then make a capacity search of the smallest of these numbers whose rate is about as high as the highest of
    them.
    """
    base, cpus = _single(search), search.situation.cpus
    if base is not None and base.model not in (PROCESSES, "forking"):
        reason = f"one Python process computes on one CPU at a time, and there are {cpus}"
        if not search.situation.has_gil:
            reason = f"processes that share nothing, for the {cpus} CPUs"
        yield from _more_for_the_cpus(search, base, "workers", reason)


def _more_for_the_cpus(search: Search, base: Candidate, by: str, reason: str) -> Iterable[Step]:
    """Yield the steps that measure `base` with 2, 4, ... of what `by` names, "workers" or "loops", and make a capacity
    search of the smallest number whose rate is about as high as the highest.
    """
    if search.situation.cpus == 1:
        return
    for number in _doubled(search.situation.cpus):
        more: dict[str, Any] = {by: number}
        yield Step(replace(base, **more), Look.SATURATION, reason)
    number, finding = enough(search.ladder(base.model, by, base))
    if search.promises(finding.candidate):
        reason = f"{number} {by} carry {finding.most:,.0f}/s, and more hardly more"
        yield Step(finding.candidate, Look.CAPACITY, reason)


def _doubled(cpus: int) -> list[int]:
    """Return the powers of 2 from 2 on that are below the number of CPUs, and that number itself."""
    numbers = [2**power for power in range(1, cpus.bit_length()) if 2**power < cpus]
    return [*numbers, cpus]


def _processes_instead_of_threads(search: Search) -> Iterable[Step]:
    """Rule: measure a pool of processes, in case the application is not thread-safe. If the application waits, the pool
    has no more processes than fit into the memory, but at least two.
    """
    situation, best = search.situation, search.best
    if situation.profile.asynchronous or best is None:
        return
    if situation.profile.waits:
        wanted = min(PROCESSES_MAX, max(2, situation.profile.at_once(situation.cpus)))
        number = max(2, min(wanted, _processes_that_fit(search)))
        reason = "processes in place of threads, in case the application is not thread-safe"
    else:
        number = max(2, situation.cpus)
        reason = "processes that share nothing, each with one client at a time"
    yield from _whole(search, Candidate(PROCESSES, workers=number), reason)


def _processes_that_fit(search: Search) -> int:
    """Return how many processes fit into MEMORY_SHARE of the memory, if each takes as much as the server with the least
    memory among those that were measured.
    """
    one = min(
        (
            each.saturation.memory_bytes
            for each in search.findings.values()
            if each.saturation and each.saturation.memory_bytes
        ),
        default=50_000_000,
    )
    return int(MEMORY_SHARE * search.situation.memory_bytes / max(1, one))


def _named_models(search: Search) -> Iterable[Step]:
    if search.situation.named:
        seen = {candidate.model for candidate in search.findings}
        for model in search.situation.models:
            candidate = next((each for each in search.findings if each.model == model), Candidate(model))
            if model not in seen or search.of(candidate).saturation is not None:
                yield from _whole(search, candidate, "named in --models")


def _a_runner_up(search: Search) -> Iterable[Step]:
    """Rule: make a capacity search of another model than the best candidate's, to compare with, even if its rate in the
    saturation run is low.
    """
    best = search.best
    if best is None or any(each.capacity for each in _others(search, best)):
        return
    tried = [each for each in _others(search, best) if each.bracket is not None]
    rest = sorted(_others(search, best), key=lambda finding: -finding.most)
    rest = [finding for finding in rest if not finding.candidate.is_loop_alone]
    if rest and not tried and rest[0].most:
        yield Step(rest[0].candidate, Look.CAPACITY, "the next best, to compare with")


def _others(search: Search, best: Finding) -> list[Finding]:
    return [each for each in search.findings.values() if each.candidate.model != best.candidate.model]


def _one_capacity_at_least(search: Search) -> Iterable[Step]:
    """Rule for the end of the time: make at least one capacity search. If the first one finds no rate at which its
    candidate meets the target, make a second one, of another model if there is one.
    """
    saturated = [each for each in search.findings.values() if each.most and not each.candidate.is_loop_alone]
    tried = {each.candidate.model for each in saturated if each.bracket is not None}
    left = [each for each in saturated if each.bracket is None]
    if search.knows_a_capacity:
        return
    if left:
        best = max(left, key=lambda finding: (finding.candidate.model not in tried, finding.most))
        yield _capacity_step(search, best.candidate)
    elif not saturated:
        yield from (step for rule in RULES for step in rule(search))


def _check_the_first_two(search: Search) -> Iterable[Step]:
    """Rule: check the capacities of the two best candidates (`first_two`) once more, each on a fresh server."""
    for finding in first_two(list(search.findings.values())):
        if finding is not None:
            yield Step(finding.candidate, Look.CHECK, f"does a fresh server hold {finding.capacity:,.0f}/s for longer?")


RULES: tuple[Rule, ...] = (
    _begin_with_a_loop,
    _threads_where_it_waits,
    _threads_beside_a_loop,
    _a_thread_for_each,
    _more_threads_where_all_are_taken,
    _loop_after_all,
    _do_threads_gain,
    _the_other_loop,
    _the_loop_alone,
    _loops_for_the_cpus,
    _processes_for_the_cpus,
    _processes_instead_of_threads,
    _named_models,
    _a_runner_up,
    _check_the_first_two,
)

LAST_RULES: tuple[Rule, ...] = (_one_capacity_at_least, _check_the_first_two)
