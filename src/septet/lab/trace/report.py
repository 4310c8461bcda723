"""Writes the files of `septet trace`: pictures, the page, a Perfetto file for each model, and figures as JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import septet
from septet.lab import machine, output
from septet.lab.trace import captions, perfetto, picture, share_table
from septet.lab.trace.captions import FIGURES, OVERVIEW, ZOOM
from septet.lab.trace.page import Figure, page
from septet.lab.trace.picture import Panel
from septet.lab.trace.rows import busiest, cut, rows
from septet.lab.trace.tracing import Trace, TracePlan

SCHEMA = 1


def save(
    traces: Sequence[Trace], plan: TracePlan, zoom_ms: float, command: Sequence[str], directory: Path
) -> list[Path]:
    """Write all files into `directory`; returns their paths, the page first. `zoom_ms` is the length in ms of the time
    that the zoomed picture shows; `command` is recorded in the files.
    """
    about = _about(plan, command)
    written = [directory / "trace.html", *_draw(traces, plan, zoom_ms, about, directory)]
    for trace in traces:
        written.append(directory / f"{trace.model}.perfetto.json")
        perfetto.save(trace, written[-1], about)
    written.append(directory / FIGURES)
    written[-1].write_text(json.dumps({**about, "models": [_figures(trace) for trace in traces]}, indent=1))
    return written


def _about(plan: TracePlan, command: Sequence[str]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "septet": septet.__version__,
        "date": output.now(),
        "command": list(command),
        "machine": machine.describe(),
        "plan": asdict(plan),
    }


def _draw(
    traces: Sequence[Trace], plan: TracePlan, zoom_ms: float, about: dict[str, Any], directory: Path
) -> list[Path]:
    title = captions.title(plan)
    known = [
        captions.method([trace.recording for trace in traces]),
        captions.machine(about["machine"], about["date"][:10]),
    ]
    wide, near = zip(*(panels(trace, zoom_ms) for trace in traces), strict=True)
    drawings = {
        ZOOM: picture.zoom(near, title, [captions.zoom(plan, zoom_ms), *known]),
        OVERVIEW: picture.overview(wide, title, [captions.overview(plan), *known]),
    }
    written: list[Path] = []
    figures = []
    for name, drawing in drawings.items():
        svg = picture.svg(drawing)
        figures.append(Figure(svg, f"{title}: {name}, one row for each thread and each user"))
        written += [directory / f"{name}.svg", directory / f"{name}.png"]
        written[-2].write_text(svg)
        written[-1].write_bytes(picture.png(svg))
    commands = [shlex.join(about["command"]), *(shlex.join(trace.command) for trace in traces)]
    heading = f"septet trace, {about['date'][:10]}"
    html = page(heading, figures, share_table.table(traces), [*known, *notes(traces)], commands)
    (directory / "trace.html").write_text(html)
    return written


def panels(trace: Trace, zoom_ms: float) -> tuple[Panel, Panel]:
    """Return (overview, zoom) of one model; the zoom shows the `zoom_ms` milliseconds with the most requests."""
    start, end = trace.recording.start, trace.recording.end
    found, subtitle = rows(trace)[0], captions.model(trace)
    since, until = busiest(trace.requests, start, end, int(zoom_ms * 1e6))
    return (
        Panel(trace.model, subtitle, found, start, end),
        Panel(trace.model, subtitle, cut(found, since, until), since, until),
    )


def notes(traces: Sequence[Trace]) -> list[str]:
    """Return sentences about single models: rows that are not drawn, records that were lost, why context switches were
    not recorded.
    """
    said = []
    for trace in traces:
        left_out = rows(trace)[1]
        if trace.recording.lost:
            left_out.append(
                f"{trace.recording.lost:,} records of switches were lost, and with them up to as many changes"
            )
        if trace.recording.obstacle:
            left_out.append(f"switches could not be recorded: {trace.recording.obstacle}")
        said += [f"{trace.model}: {note}" for note in left_out]
    return said


def _figures(trace: Trace) -> dict[str, Any]:
    recording = trace.recording
    heads, *lines = share_table.table([trace])
    return {
        "model": trace.model,
        "command": trace.command,
        "way": recording.way,
        "records": recording.records,
        "lost": recording.lost,
        "requests": len(trace.requests),
        "shares": [dict(zip(heads, line, strict=True)) for line in lines],
        "waited_for_cpu_ms": {str(tid): round(waited / 1e6, 3) for tid, waited in recording.waited_ns.items()},
    }
