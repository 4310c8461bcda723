"""Who comes first: of those that carry the same within the target, as far as was measured, the simplest."""

from __future__ import annotations

from septet.lab.advise.findings import Finding

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
