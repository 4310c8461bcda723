"""Traces the models of an experiment (`septet bench --trace`), each with a few users, after the last run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from septet.errors import Failed
from septet.lab.experiment import Experiment
from septet.lab.trace import captions, report
from septet.lab.trace.captions import DIRECTORY
from septet.lab.trace.tracing import Trace, TracePlan, trace

ZOOM_MS = 30.0


def trace_experiment(experiment: Experiment, command: Sequence[str], tell: Callable[[str], None]) -> None:
    """Record a second of each process model of the experiment, draw all into its directory, and tell by `tell` how each
    went.

    If a model cannot be traced, that is told as well, and nothing is raised: the figures of the experiment are stored
    already. `command` is the command line of the experiment, for the page.
    """
    if len(experiment.app_words) != 1:
        tell("trace: only applications can be traced, not files")
        return
    plan = TracePlan(
        app=experiment.app_words[0],
        path=experiment.path,
        think_s=0.001,
        keep_alive=experiment.mode == "keep-alive",
        warmup_s=0.5,
        serve_options=experiment.serve_options,
        store=experiment.store,
        cpus=experiment.pinned.server,  # on other CPUs the default size of pools would differ
    )
    traces: list[Trace] = []
    for model in experiment.models:
        own = replace(plan, serve_options=plan.serve_options + experiment.model_options.get(model, ()))
        try:
            traces.append(trace(own, model, lambda line: tell(f"trace: {line}")))
        except Failed as failure:
            tell(f"trace: {model} failed: {failure}")
        else:
            tell(f"trace: {model}: {captions.model(traces[-1])}; {captions.method([traces[-1].recording])}")
    if traces:
        directory = experiment.out / DIRECTORY
        directory.mkdir(exist_ok=True)
        report.save(traces, plan, ZOOM_MS, command, directory)
