"""The same advice for who stays with gunicorn or uvicorn: what carries over, and what does not.

Whether an application waits or computes is its own affair, and with it how many processes and threads are of use. What
a server spends on a request is not: its capacity is another one, to be measured.
"""

from __future__ import annotations

import math

from septet.lab.advise.candidate import LOOPS, POOL, PROCESSES, Candidate
from septet.lab.advise.findings import Finding
from septet.lab.advise.nature import Nature

SPARE_THREADS = 1.25


def elsewhere(finding: Finding, nature: Nature, app: str, cpus: int) -> list[str]:
    """Command lines for gunicorn and uvicorn; `app` is MODULE:ATTRIBUTE."""
    candidate = finding.candidate
    if nature.asynchronous:
        workers = _workers(candidate, cpus)
        return [
            f"uvicorn --workers {workers} {app}",
            f"gunicorn --worker-class uvicorn_worker.UvicornWorker --workers {workers} {app}",
        ]
    if nature.waits and candidate.model != PROCESSES:
        threads = candidate.threads or math.ceil(SPARE_THREADS * finding.capacity * nature.wall_s)
        workers = candidate.processes
        return [f"gunicorn --worker-class gthread --workers {workers} --threads {max(1, threads)} {app}"]
    return [f"gunicorn --worker-class sync --workers {_workers(candidate, cpus)} {app}"]


def _workers(candidate: Candidate, cpus: int) -> int:
    if candidate.model == PROCESSES:
        return candidate.processes
    return cpus if candidate.model in (*LOOPS, POOL) else candidate.processes


def caution(nature: Nature) -> str:
    """What does not carry over, in a sentence."""
    if nature.asynchronous:
        return "processes and their number carry over; the capacity does not"
    if nature.waits:
        return "the number of threads carries over; the capacity does not, and gthread lets idle clients hold no thread"
    return "sync has no kept connections: put a proxy in front; the capacity does not carry over"
