"""Ranks the candidates that were measured, and chooses the one to advise and its runner-up."""

from __future__ import annotations

from septet.lab.advise.candidates import Finding

ALIKE = 0.95
"""A rate counts as equal to the best rate if it is at least this share of the best rate."""
SAME_COST = 1.1
"""A candidate whose capacity is in doubt may be as good as the best one only if its CPU time for a request is at most
this many times that of the best one.
"""
PROBABLE = 0.7
"""A candidate whose capacity is in doubt counts as possibly as good as the best one if its rate in the saturation run
(under the highest load) is at least this share of the best one's.
"""
DEARER = 1.25
"""Candidates that the load generator could not saturate cannot be ranked by rate. Among them, those whose CPU time for
a request is more than this many times the least come after the others.
"""


def first_two(findings: list[Finding]) -> tuple[Finding | None, Finding | None]:
    """Return the candidate to advise, and the best candidate that has another model; each is None if there is none."""
    ranked = rank(findings)
    if not ranked:
        return None, None
    chosen = ranked[0]
    return chosen, next((each for each in ranked[1:] if each.candidate.model != chosen.candidate.model), None)


def rank(findings: list[Finding]) -> list[Finding]:
    """Return the findings that met the target at some rate, the best first. Findings whose capacity is about equal to
    the highest one, or may be, come first, and among them the simplest to configure; the others follow, the highest
    capacity first.
    """
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
    """True if a candidate may be as good as the best one although other programs disturbed its trials and put its
    capacity in doubt.

    This is judged by its CPU time for a request, which other programs disturb less than rates, and by its rate in the
    saturation run (under the highest load).
    """
    assert finding.bracket is not None, "it has a capacity"
    same_cost = finding.cpu_s <= SAME_COST * best.cpu_s
    return finding.bracket.in_doubt and same_cost and finding.most >= PROBABLE * best.most


def _reaches(finding: Finding) -> float:
    """Return the best estimate of a candidate's capacity: the geometric mean of the highest rate that met the target
    and the lowest that did not.
    """
    assert finding.bracket is not None, "it has a capacity"
    return float((finding.bracket.low * (finding.bracket.high or finding.bracket.low)) ** 0.5)
