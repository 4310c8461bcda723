"""Which candidate to measure next, and which of those measured comes first.

There are hundreds of combinations of a model, workers and threads, and only minutes for all. The first rule of `RULES`
that has a step to propose decides, and its reason is printed. A candidate is measured in two ways. A *saturation run*,
a second under as many users as it can serve, shows the most that it carries. The *capacity search*, several trials
long, shows what it holds within the target, and is made only where the saturation run promises something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from septet.lab.advise.candidates import LOOPS, POOL, PROCESSES, Candidate, Finding, Look, Search, Step
from septet.lab.advise.trial import milliseconds

THREADS_FIRST = 8
THREADS_MAX = 512
GAIN = 1.10  # twice the threads or workers must carry this much more, or they are not worth it
TAKEN = 0.85  # of the rate at which Little's law has all threads taken
MEMORY_SHARE = 0.8  # of what may be used
PROCESSES_MAX = 32


def next_step(search: Search, in_time: bool = True) -> Step | None:
    """None: everything worth a look has been looked at. Not in time: what is known is checked, and no more."""
    rules = RULES if in_time else LAST_RULES
    steps = (step for rule in rules for step in rule(search) if step.candidate.model in search.situation.models)
    return next((step for step in steps if _is_new(search, step)), None)


def _is_new(search: Search, step: Step) -> bool:
    finding = search.findings.get(step.candidate)
    if finding is None:
        return True
    if finding.gauge is not None and finding.gauge.answered_nothing:
        return False
    known = {Look.GAUGE: finding.gauge, Look.KNEE: finding.bracket, Look.CHECK: finding.checked or None}
    return known[step.look] is None


Rule = Callable[[Search], Iterable[Step]]


def _whole(search: Search, candidate: Candidate, reason: str) -> Iterable[Step]:
    """A gauge, and the knee if that is promising."""
    yield Step(candidate, Look.GAUGE, reason)
    if search.promises(candidate):
        yield _its_knee(search, candidate)


def _its_knee(search: Search, candidate: Candidate) -> Step:
    return Step(candidate, Look.KNEE, f"it carries {search.of(candidate).most:,.0f}/s when saturated")


def _begin_with_a_loop(search: Search) -> Iterable[Step]:
    first = next((name for name in LOOPS[1:] + LOOPS[:1] if name in search.situation.models), None)
    if first is not None:
        reason = "one process and its own number of threads: what everything else has to beat"
        yield Step(Candidate(first), Look.GAUGE, reason)
        if not search.situation.nature.blocks:
            yield _its_knee(search, Candidate(first))


def _threads_where_it_waits(search: Search) -> Iterable[Step]:
    """A ladder of pools, each twice the last, for as long as that gains something."""
    if not search.situation.nature.blocks:
        return
    pool = search.pool
    yield Step(Candidate(pool, threads=THREADS_FIRST), Look.GAUGE, _why_threads(search))
    rungs = search.ladder(pool, "threads")
    if (next_rung := _next_rung(search, rungs)) is not None:
        most = rungs[-1][1].most
        gained = f"{rungs[-1][0]} threads carry {most:,.0f}/s"
        before = f", {most / max(1.0, rungs[-2][1].most):.1f} times what {rungs[-2][0]} do" if len(rungs) > 1 else ""
        reason = f"{gained}{before}: do twice as many carry more?"
        yield Step(Candidate(pool, threads=next_rung), Look.GAUGE, reason)
    elif rungs:
        number, finding = enough(rungs)
        if search.promises(finding.candidate):
            reason = f"{number} threads carry {finding.most:,.0f}/s when saturated, and more of them hardly more"
            yield Step(finding.candidate, Look.KNEE, reason)


def _why_threads(search: Search) -> str:
    situation = search.situation
    nature = situation.nature
    return (
        f"a request waits {milliseconds(nature.wait_s)} and computes {milliseconds(nature.cpu_s)}: while one waits "
        f"others may run; by Little's law about {nature.at_once(situation.cpus):,} at once use the CPU up"
    )


def _next_rung(search: Search, rungs: list[tuple[int, Finding]]) -> int | None:
    """Twice the last number of threads; None when the last doubling gained too little, or there is no room."""
    if not rungs or rungs[-1][1].most == 0:
        return None
    number, finding = rungs[-1]
    if len(rungs) > 1 and finding.most < GAIN * rungs[-2][1].most:
        return None
    most = min(THREADS_MAX, 2 * search.situation.users)
    return 2 * number if 2 * number <= most else None


def enough(rungs: Sequence[tuple[int, Finding]]) -> tuple[int, Finding]:
    """The smallest number that carries as much as the best one."""
    best = max(finding.most for _, finding in rungs)
    return next(pair for pair in rungs if pair[1].most >= ALIKE * best)


def _threads_beside_a_loop(search: Search) -> Iterable[Step]:
    rungs = search.ladder(search.pool, "threads")
    loop = next((name for name in LOOPS[1:] if name in search.situation.models), None)
    if search.situation.nature.blocks and rungs and loop is not None:
        number, _ = enough(rungs)
        reason = f"the same {number} threads beside a loop, which keeps idle clients from holding a thread"
        yield from _whole(search, Candidate(loop, threads=number), reason)


def _a_thread_for_each(search: Search) -> Iterable[Step]:
    if search.situation.nature.blocks:
        yield from _whole(search, Candidate("threaded"), "a thread for each client: no number to choose")


def _more_threads_where_all_are_taken(search: Search) -> Iterable[Step]:
    """Of the best: the ladder was climbed with another model, which may have come to its end earlier."""
    best, situation = search.best, search.situation
    if best is None or not situation.nature.blocks or not best.candidate.threads:
        return
    candidate = best.candidate
    places = candidate.at_once(False, situation.users)
    if best.most >= TAKEN * places / situation.nature.wall_s and 2 * best.candidate.threads <= THREADS_MAX:
        more = Candidate(candidate.model, candidate.workers, 2 * best.candidate.threads)
        yield from _whole(
            search, more, f"all {places} places in the application were taken: do twice as many carry more?"
        )


def _loop_after_all(search: Search) -> Iterable[Step]:
    """Where threads gained nothing, a request that waits may be alone in the first loop as well."""
    first = next((each for each in search.findings if each.model in LOOPS and not each.threads), None)
    if first is not None and search.promises(first):
        yield _its_knee(search, first)


def _do_threads_gain(search: Search) -> Iterable[Step]:
    nature = search.situation.nature
    if not nature.waits and not nature.asynchronous:
        reason = f"to see whether threads gain anything, since it hardly waits ({milliseconds(nature.wait_s)})"
        yield from _whole(search, Candidate(POOL, threads=THREADS_FIRST), reason)


def _the_other_loop(search: Search) -> Iterable[Step]:
    nature = search.situation.nature
    if nature.asynchronous or not nature.waits:
        yield from _whole(search, Candidate("io_uring"), "the same loop, moved by completions instead of readiness")


def _processes_for_the_cpus(search: Search) -> Iterable[Step]:
    """Workers of the best single process, each twice the last, up to a process for each CPU."""
    cpus = search.situation.cpus
    single = [each for each in search.findings.values() if each.candidate.processes == 1 and each.capacity]
    if not single:
        return
    base = max(single, key=lambda finding: finding.capacity).candidate
    if base.model in (PROCESSES, "forking"):
        return
    if cpus == 1:
        return
    reason = f"one Python process computes on one CPU at a time, and there are {cpus}"
    for number in _doubled(cpus):
        yield Step(Candidate(base.model, number, base.threads), Look.GAUGE, reason)
    rungs = search.ladder(base.model, "workers", base)
    number, finding = enough(rungs)
    if search.promises(finding.candidate):
        yield Step(finding.candidate, Look.KNEE, f"{number} workers carry {finding.most:,.0f}/s, and more hardly more")


def _doubled(cpus: int) -> list[int]:
    """2, 4, 8, ... and the number of CPUs itself."""
    numbers = [2**power for power in range(1, cpus.bit_length()) if 2**power < cpus]
    return [*numbers, cpus]


def _processes_instead_of_threads(search: Search) -> Iterable[Step]:
    """For an application that is not thread-safe; at most what the memory holds."""
    situation, best = search.situation, search.best
    if situation.nature.asynchronous or best is None:
        return
    if situation.nature.waits:
        wanted = min(PROCESSES_MAX, max(2, situation.nature.at_once(situation.cpus)))
        number = max(2, min(wanted, _room(search)))
        reason = "processes in place of threads, in case the application is not thread-safe"
    else:
        number = max(2, situation.cpus)
        reason = "processes that share nothing, each with one client at a time"
    yield from _whole(search, Candidate(PROCESSES, workers=number), reason)


def _room(search: Search) -> int:
    """How many processes fit into the memory, by what one takes."""
    one = min(
        (each.gauge.memory_bytes for each in search.findings.values() if each.gauge and each.gauge.memory_bytes),
        default=50_000_000,
    )
    return int(MEMORY_SHARE * search.situation.memory_bytes / max(1, one))


def _whatever_was_named(search: Search) -> Iterable[Step]:
    if search.situation.named:
        seen = {candidate.model for candidate in search.findings}
        for model in search.situation.models:
            candidate = next((each for each in search.findings if each.model == model), Candidate(model))
            if model not in seen or search.of(candidate).gauge is not None:
                yield from _whole(search, candidate, "named in --models")


def _a_runner_up(search: Search) -> Iterable[Step]:
    """Somebody to compare with, though the gauge promised little: what is advised has a price only beside another."""
    best = search.best
    if best is None or any(each.capacity for each in _others(search, best)):
        return
    tried = [each for each in _others(search, best) if each.bracket is not None]
    rest = sorted(_others(search, best), key=lambda finding: -finding.most)
    if rest and not tried and rest[0].most:
        yield Step(rest[0].candidate, Look.KNEE, "the next best, to compare with")


def _others(search: Search, best: Finding) -> list[Finding]:
    return [each for each in search.findings.values() if each.candidate.model != best.candidate.model]


def _one_knee_at_least(search: Search) -> Iterable[Step]:
    """However short the time is."""
    gauged = [each for each in search.findings.values() if each.most]
    if search.knows_a_knee:
        return
    if gauged:
        yield _its_knee(search, max(gauged, key=lambda finding: finding.most).candidate)
    else:
        yield from (step for rule in RULES for step in rule(search))


def _check_the_first_two(search: Search) -> Iterable[Step]:
    """What would be advised, and its runner-up, rest on two brackets: each is tried once more, on a fresh server."""
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
    _processes_for_the_cpus,
    _processes_instead_of_threads,
    _whatever_was_named,
    _a_runner_up,
    _check_the_first_two,
)

LAST_RULES: tuple[Rule, ...] = (_one_knee_at_least, _check_the_first_two)


ALIKE = 0.95  # of the best: what carries that much carries the same
SAME_COST = 1.1  # times the CPU for a request
PROBABLE = 0.7  # of the best, in two gauges on a machine that is not quiet
DEARER = 1.25  # times the CPU for a request: of two that the load generator could not drive to their limit


def first_two(findings: list[Finding]) -> tuple[Finding | None, Finding | None]:
    """Who is to be advised, and the best of another model."""
    ranked = rank(findings)
    if not ranked:
        return None, None
    chosen = ranked[0]
    return chosen, next((each for each in ranked[1:] if each.candidate.model != chosen.candidate.model), None)


def rank(findings: list[Finding]) -> list[Finding]:
    """Those that hold the target: first who carries as much as the best, the simplest of them first; then the rest."""
    known = [each for each in findings if each.capacity]
    if not known:
        return []
    best = max(known, key=lambda each: each.capacity)
    alike = [each for each in known if _reaches(each) >= ALIKE * best.capacity or _may_reach(each, best)]
    limited = [each for each in alike if each.bracket is not None and each.bracket.at_least]
    cheapest = min((each.cpu_s for each in limited), default=0.0)
    dear = [each for each in limited if each.cpu_s > DEARER * cheapest]
    first = [each for each in alike if each not in dear]
    first.sort(key=lambda each: (each.candidate.effort, -each.capacity))
    rest = [each for each in known if each not in first]
    return first + sorted(rest, key=lambda each: -each.capacity)


def _may_reach(finding: Finding, best: Finding) -> bool:
    """A capacity in doubt is not held against who costs no more: on a busy machine CPU time is what can be believed."""
    assert finding.bracket is not None, "it has a capacity"
    same_cost = finding.cpu_s <= SAME_COST * best.cpu_s
    return finding.bracket.in_doubt and same_cost and finding.most >= PROBABLE * best.most


def _reaches(finding: Finding) -> float:
    """The highest rate that it may hold for all we know, as far as that was found out."""
    assert finding.bracket is not None, "it has a capacity"
    return float((finding.bracket.low * (finding.bracket.high or finding.bracket.low)) ** 0.5)
