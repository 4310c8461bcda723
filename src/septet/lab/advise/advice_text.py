"""The advice as text for people, as values for advice.json, and as command lines for gunicorn and uvicorn.

The numbers of processes and threads that help depend on whether the application waits or computes, so they hold for
other servers, too. Capacity does not: it depends on the server's own CPU time for a request, and must be measured.
"""

from __future__ import annotations

import math
import platform
import shlex
from dataclasses import asdict
from typing import Any

from septet.lab.advise.advice import Advice, LoopAlone, Scale, price, shares_cores
from septet.lab.advise.candidates import LOOPS, POOL, PROCESSES, Candidate, Finding, Search, Situation, Step
from septet.lab.advise.extrapolation import MachineRow, basis
from septet.lab.advise.trial import milliseconds
from septet.lab.advise.usl import Usl
from septet.lab.advise.workload_profile import WorkloadProfile
from septet.lab.experiment import Experiment
from septet.lab.verdicts import ERROR_SHARE_MAX

WIDTH = 14
"""Width of the first column of the advice, in characters."""
ALIKE_WITHIN = 0.05
"""Two figures, each of which comes from a single run, are called equal if they differ by less than this share."""
WORTH_SAYING = 0.97
"""The computed capacity for requests at random instants is printed if it is less than this share of the measured
one."""


def serve_line(finding: Finding, experiment: Experiment) -> str:
    """Return the command line, `septet serve ...`, that runs the candidate."""
    words = [*experiment.app_words, *finding.candidate.options, *experiment.serve_options]
    return shlex.join(["septet", "serve", *words])


def answer(advice: Advice, search: Search, experiment: Experiment) -> list[str]:
    """Return the advice for people, line by line."""
    chosen, profile = advice.chosen, search.situation.profile
    lines = [
        f"Run it under {chosen.candidate.label}:",
        "",
        f"    {serve_line(chosen, experiment)}",
        "",
        _row("capacity", capacity(chosen, advice.target_s)),
    ]
    if advice.at_random is not None and advice.at_random < WORTH_SAYING * chosen.capacity:
        lines.append(_row("", f"requests that come at random, computed: {advice.at_random:,.0f}/s; plan with that"))
    lines += [_row("limited by", f"{advice.limit.what}: {advice.limit.sentence}"), _row("costs", costs(chosen))]
    if (said := build(search.situation)) is not None:
        lines.append(_row("build", said))
    if advice.loop_alone is not None:
        lines.append(_row("--threads 0", loop_alone(advice.loop_alone)))
    if advice.not_told_apart:
        labels = "; ".join(each.candidate.label for each in advice.not_told_apart)
        lines.append(_row("undecided", f"other programs kept these from showing what they carry: {labels}"))
    if advice.unfinished is not None:
        lines.append(_row("unfinished", unfinished(advice.unfinished)))
    lines += [_row("scaling" if not index else "", scaling(each)) for index, each in enumerate(advice.scales)]
    if advice.instead is not None:
        lines.append(_row("instead", instead(advice, advice.instead)))
    if advice.runner_up is not None:
        lines += ["", *_runner_up(advice, advice.runner_up)]
    lines += ["", *table(search)]
    if others := _other_server_commands(advice, search, experiment):
        lines += ["", "For gunicorn or uvicorn:", "", *(f"    {line}" for line in others)]
        lines += ["", f"{_sentence(what_carries_over(profile))}."]
    return lines


def table(search: Search) -> list[str]:
    """Return the table of all candidates that were measured, as lines of text: the heading, then one for each
    candidate.
    """
    labels = {finding.candidate: finding.candidate.label for finding in search.findings.values()}
    width = max(map(len, labels.values()))
    lines = [f"{'looked at':<{width}}  {'saturated/s':>11}  {'in time/s':>9}  {'memory MB':>9}  {'CPU µs':>7}"]
    for each in search.findings.values():
        within = _within(each)
        memory = f"{each.memory_bytes / 1e6:,.0f}" if each.memory_bytes else "-"
        cpu = f"{each.cpu_s * 1e6:,.0f}" if each.cpu_s else "-"
        most = f"{each.most:,.0f}" if each.most else "failed"
        lines.append(f"{labels[each.candidate]:<{width}}  {most:>11}  {within:>9}  {memory:>9}  {cpu:>7}")
    return lines


def _within(finding: Finding) -> str:
    if finding.bracket is None:
        return "-"
    return "?" if finding.bracket.refuted else f"{finding.capacity:,.0f}{'+' if finding.bracket.is_lower_bound else ''}"


def capacity(finding: Finding, target_s: float) -> str:
    """Return the capacity of a candidate as text: the rate, the two rates between which it lies, and any reasons to
    doubt it. `target_s`: the latency target in seconds.
    """
    bracket = finding.bracket
    assert bracket is not None, "a candidate with a capacity has a bracket"
    at_least = "at least " if bracket.is_lower_bound else ""
    text = f"{at_least}{bracket.low:,.0f} requests/s with 99 % within {milliseconds(target_s)}"
    if bracket.high is not None and not bracket.is_lower_bound:
        text += f" (between {bracket.low:,.0f} and {bracket.high:,.0f})"
    if finding.highest_held is not None and finding.highest_held.answers < 1000:
        text += f"; p99 of {finding.highest_held.answers:,} answers only"
    if bracket.in_doubt or bracket.wavered:
        text += "; in doubt, the machine was not quiet"
    if bracket.unchecked:
        text += ", not even for a longer check on a fresh server"
    if not finding.checked:
        text += "; there was no time to check it on a fresh server"
    return text


RISK = "the risk: a call that waits, or does not end, stops all clients of its process"


def loop_alone(found: LoopAlone) -> str:
    """Return as text what `--threads 0`, with which the event loop itself calls the application, would bring, and its
    risk.
    """
    if found.rate_max is not None:
        return f"not for this application: while a request waits all others would, {found.rate_max:,.0f}/s at most"
    told = []
    if found.cpu_ratio is not None:
        told.append(_change(found.cpu_ratio, "CPU time a request"))
    if found.rate_ratio is not None:
        told.append(_change(found.rate_ratio, "requests/s"))
    return f"under {found.model}: {', '.join(told) or 'nothing that could be measured'}; {RISK}"


def unfinished(step: Step) -> str:
    """Return what the search would have looked at next, as text."""
    return (
        f"time was up before it had looked at {step.candidate.label} ({step.reason}); a longer --budget may find better"
    )


def _change(ratio: float, of: str) -> str:
    if abs(ratio - 1) < ALIKE_WITHIN:
        return f"about the same {of}"
    return f"{abs(ratio - 1):.0%} {'more' if ratio > 1 else 'less'} {of}"


def costs(finding: Finding) -> str:
    """Return as text what a candidate uses (memory, processes, threads, and CPU time of a request) at the highest rate
    that met the target, or in the saturation run (under the highest load) if there is no such rate.
    """
    trial = finding.highest_held or finding.saturation
    assert trial is not None, "something was measured"
    memory = f"{trial.memory_bytes / 1e6:,.0f} MB" if trial.memory_bytes else "memory unknown"
    processes = f"{trial.processes} process{'es' * (trial.processes != 1)}"
    threads = f"{trial.threads} thread{'s' * (trial.threads != 1)}"
    return f"{memory}, {processes}, {threads}, {_microseconds(trial.cpu_s)} of CPU a request"


def scaling(scale: Scale) -> str:
    """Return as text the throughput at each number of threads, workers or loops, and the fit of Gunther's law (the
    Universal Scalability Law) to it, if there is one.
    """
    points = ", ".join(f"{number}: {rate:,.0f}" for number, rate in scale.points)
    return f"{scale.model} by {scale.by}, saturated: {points}/s; {law(scale.law)}"


def law(fitted: Usl | None) -> str:
    if fitted is None:
        return "too few points for Gunther's law"
    text = f"Gunther's law: sigma {fitted.sigma:.3g}, kappa {fitted.kappa:.2g}, error {fitted.error:.0%}"
    if fitted.peak is not None:
        text += f", highest at {fitted.peak:.0f}"
    if fitted.cliff is not None:
        text += f"; a cliff at {fitted.cliff:g}, which no law explains"
    return text if fitted.trustworthy else f"{text}: not to be extended"


def build(situation: Situation) -> str | None:
    """Return as text whether the Python that was measured runs without a global lock (the GIL); None for the usual
    build, which has one.
    """
    if not situation.has_gil:
        does = "loops and threads of one process compute at the same time"
        return f"This Python ({platform.python_version()}) runs without the GIL: {does}"
    if situation.gil_turned_on_by is not None:
        return (
            f"This Python ({platform.python_version()}) could run without the GIL, but the module "
            f"{situation.gil_turned_on_by} has turned it on: one thread of a process computes at a time"
        )
    return None


def instead(advice: Advice, other: Finding) -> str:
    """Return as text what loops of one process would bring in place of the workers that are advised, or workers in
    place of the loops.
    """
    chosen = advice.chosen
    if other.capacity:
        carries = capacity(other, advice.target_s)
    else:
        carries = f"{other.most:,.0f} requests/s when saturated, where the advised one has {chosen.most:,.0f}"
    told = [carries]
    if other.memory_bytes and chosen.memory_bytes:
        told.append(f"{other.memory_bytes / 1e6:,.0f} MB in place of {chosen.memory_bytes / 1e6:,.0f}")
    told.append(price(other.candidate) if other.candidate.loops else "each process has a memory of its own")
    return f"{other.candidate.label}: {'; '.join(told)}"


def _runner_up(advice: Advice, other: Finding) -> list[str]:
    lines = [_row("runner-up", f"{other.candidate.label}: {capacity(other, advice.target_s)}")]
    if advice.runner_up_limit is not None:
        lines.append(_row("limited by", f"{advice.runner_up_limit.what}: {advice.runner_up_limit.sentence}"))
    prices = filter(None, [_difference(advice.chosen, other), price(other.candidate)])
    lines.append(_row("its price", "; ".join(prices)))
    return lines


def _difference(chosen: Finding, other: Finding) -> str:
    """Return in numbers how `other` differs from `chosen` in capacity, memory and CPU time of a request. Differences
    below 5 % (capacity) or 10 % are left out; "" if none remains.
    """
    differences = []
    ratio = other.capacity / chosen.capacity
    if abs(ratio - 1) > 0.05:
        differences.append(f"{abs(ratio - 1):.0%} {'more' if ratio > 1 else 'less'} capacity")
    here, there = chosen.highest_held, other.highest_held
    for name, mine, its in (
        ("memory", here and here.memory_bytes, there and there.memory_bytes),
        ("CPU a request", here and here.cpu_s, there and there.cpu_s),
    ):
        if mine and its and not 0.9 < its / mine < 1.1:
            differences.append(f"{its / mine:.1f} times the {name}")
    return ", ".join(differences)


def not_held(search: Search, target_s: float) -> str:
    """Return a sentence that says why there is no advice: no candidate met the target."""
    wall_s = search.situation.profile.wall_s
    if wall_s > target_s:
        alone, target = milliseconds(wall_s), milliseconds(target_s)
        return f"one request alone takes {alone}: no model brings 99 % of many below {target}"
    failed = [each.lowest_failed for each in search.findings.values() if each.lowest_failed is not None]
    if failed and all(each.is_disturbed for each in failed):
        return (
            f"no candidate held a p99 of {milliseconds(target_s)}, but other programs had the CPUs whenever one did "
            "not: this machine is too busy now to say more; --if-busy wait waits for them"
        )
    if failed and all(each.error_share > ERROR_SHARE_MAX for each in failed):
        best = min(failed, key=lambda each: each.error_share)
        return (
            f"requests fail at every rate that was tried, {best.error_share:.2%} of them at best "
            f"({best.failures or 'no answer'}): that comes before any latency"
        )
    if any(each.bracket is not None and each.bracket.refuted for each in search.findings.values()):
        return (
            "fresh servers did not hold what the search had found: the machine is not quiet, or the application does "
            "not keep its speed; repeat it when nothing else runs, or with a larger --budget"
        )
    return f"no candidate held a p99 of {milliseconds(target_s)} at any rate that was tried"


def extrapolation(rate: float, rows: list[MachineRow], advice: Advice, situation: Situation) -> list[str]:
    """Return the lines of the table of `--plan`, with its assumptions. rate: the requests/s to plan for."""
    candidate, cpus = advice.chosen.candidate, situation.cpus
    each = "a process"
    if shares_cores(candidate, situation):
        each = "a loop of one process" if candidate.loops else "as many threads of one process"
    lines = [
        f"{rate:,.0f} requests/s under {candidate.label}, with {each} for each core: an EXTRAPOLATION",
        f"from {cpus} CPU{'s' * (cpus != 1)}, for requests that come at random and a backend that keeps up;",
        f"{basis(advice.law_of_cpus)}",
        "",
        f"{'cores':>6}  {'machines':>9}  {'between':>13}  {'requests/s each':>16}  {'memory each':>12}",
    ]
    for row in rows:
        memory = f"{row.memory_bytes / 1e6:,.0f} MB" if row.memory_bytes else "unknown"
        between = f"{row.few:,} - {row.many:,}"
        lines.append(f"{row.cores:>6}  {row.machines:>9,}  {between:>13}  {row.rate:>16,.0f}  {memory:>12}")
    return lines


def _row(name: str, text: str) -> str:
    return f"{name:<{WIDTH}}{text}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs" if seconds < 1e-3 else milliseconds(seconds)


# For programs.


def values(advice: Advice | None, search: Search, experiment: Experiment) -> dict[str, Any]:
    """Return the advice as values for JSON. The key "advice" is None if no candidate met the target, or none has met it
    so far.
    """
    found = [_finding(each) for each in search.findings.values()]
    situation = search.situation
    profile = {**asdict(situation.profile), "waits": situation.profile.waits}
    common: dict[str, Any] = {
        "nature": profile,
        "users": situation.users,
        "cpus": situation.cpus,
        "has_gil": situation.has_gil,
        "gil_turned_on_by": situation.gil_turned_on_by,
        "findings": found,
    }
    if advice is None:
        return {**common, "advice": None}
    return {
        **common,
        "advice": {
            **_finding(advice.chosen),
            "target_p99_s": advice.target_s,
            "serve": serve_line(advice.chosen, experiment),
            "requests_per_s_at_random": advice.at_random,
            "limit": asdict(advice.limit),
            "runner_up": _finding(advice.runner_up) if advice.runner_up is not None else None,
            "runner_up_limit": asdict(advice.runner_up_limit) if advice.runner_up_limit is not None else None,
            "scales": [_scale(each) for each in advice.scales],
            "threads_0": asdict(advice.loop_alone) if advice.loop_alone is not None else None,
            "instead": _finding(advice.instead) if advice.instead is not None else None,
            "unfinished": asdict(advice.unfinished.candidate) if advice.unfinished is not None else None,
            "not_told_apart": [asdict(each.candidate) for each in advice.not_told_apart],
            "elsewhere": _other_server_commands(advice, search, experiment),
        },
    }


def _other_server_commands(advice: Advice, search: Search, experiment: Experiment) -> list[str]:
    """Return the command lines for gunicorn and uvicorn that match the advice; none for static files, which they cannot
    serve.
    """
    app, *_ = experiment.app_words
    situation = search.situation
    return [] if app.startswith("--") else other_server_commands(advice.chosen, situation.profile, app, situation.cpus)


def _finding(finding: Finding) -> dict[str, Any]:
    trial = finding.highest_held or finding.saturation
    return {
        "candidate": asdict(finding.candidate),
        "requests_per_s": finding.capacity or None,
        "bracket": asdict(finding.bracket) if finding.bracket is not None else None,
        "at_least": finding.bracket.is_lower_bound if finding.bracket is not None else None,
        "saturated_requests_per_s": finding.most or None,
        "memory_bytes": trial.memory_bytes if trial is not None else None,
        "cpu_s": trial.cpu_s if trial is not None else None,
        "failure": finding.saturation.failure if finding.saturation is not None else None,
        "errors": dict(finding.lowest_failed.kinds) if finding.lowest_failed is not None else {},
        "checked": finding.checked,
    }


def _scale(scale: Scale) -> dict[str, Any]:
    fitted = asdict(scale.law) if scale.law is not None else None
    return {"model": scale.model, "by": scale.by, "points": scale.points, "law": fitted}


SPARE_THREADS = 1.25


def other_server_commands(finding: Finding, profile: WorkloadProfile, app: str, cpus: int) -> list[str]:
    """Return command lines for gunicorn and uvicorn with as many processes and threads as the candidate. `app` is
    MODULE:ATTRIBUTE; `cpus`: those of the server.
    """
    candidate = finding.candidate
    if profile.asynchronous:
        workers = _workers(candidate, cpus)
        return [
            f"uvicorn --workers {workers} {app}",
            f"gunicorn --worker-class uvicorn_worker.UvicornWorker --workers {workers} {app}",
        ]
    if profile.waits and candidate.model != PROCESSES:
        threads = (candidate.threads or 0) * (candidate.loops or 1)
        threads = threads or math.ceil(SPARE_THREADS * finding.capacity * profile.wall_s)
        workers = candidate.processes
        return [f"gunicorn --worker-class gthread --workers {workers} --threads {max(1, threads)} {app}"]
    return [f"gunicorn --worker-class sync --workers {_workers(candidate, cpus)} {app}"]


def _workers(candidate: Candidate, cpus: int) -> int:
    if candidate.model == PROCESSES:
        return candidate.processes
    return cpus if candidate.model in (*LOOPS, POOL) else candidate.processes


def what_carries_over(profile: WorkloadProfile) -> str:
    """Return a sentence that says which numbers of the advice hold for gunicorn and uvicorn, and which do not."""
    if profile.asynchronous:
        return "processes and their number carry over; the capacity does not"
    if profile.waits:
        return "the number of threads carries over; the capacity does not, and gthread lets idle clients hold no thread"
    return "sync has no kept connections: put a proxy in front; the capacity does not carry over"
