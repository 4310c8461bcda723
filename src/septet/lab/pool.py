"""The pool of a comparison: how many requests each contender may have in progress at the same time.

A server with 16 threads beside one with 8 looks twice as fast where requests wait. So all contenders of `septet bench
--servers` get the same number of processes and threads, which `--pool` names; what that means for each is printed above
the table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from septet.errors import UsageError
from septet.lab.pinning import Pinning

THREADS_PER_CPU = 8
"""Threads for each CPU of the server, the default of `septet serve`."""
POOL_FIELDS = frozenset({"workers", "threads", "at_once"})
"""The numbers of a pool that commands of other servers may refer to by these names in braces, see
`septet.lab.contenders`.
"""
THREADS, PROCESSES, LOOPS, ONE_PROCESS = KINDS = ("threads", "processes", "loops", "one process of threads")
"""What a contender's pool consists of: threads in each process; processes that answer a request each; processes with an
event loop each, for ASGI applications; all threads in a single process, where a server can have no more."""
UNBOUNDED = "without a bound"
"""Used in place of one of KINDS for a contender that makes a thread or a process for every client."""
ONE = "one"
"""Used in place of one of KINDS for a contender that answers one request at a time in each process."""
_LOOPS = frozenset({"poll", "epoll", "io_uring"})
"""Septet's models with one thread for all clients: an ASGI application runs on its loop, and needs no pool."""
_WRITTEN = re.compile(r"(?:([1-9][0-9]{0,4})x)?([1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class Pool:
    """The pool that all contenders get: a number of processes, each with a number of threads."""

    workers: int = 1
    threads: int = THREADS_PER_CPU

    @property
    def at_once(self) -> int:
        """Most requests of a WSGI application that are in progress at the same time."""
        return self.workers * self.threads

    @property
    def values(self) -> dict[str, int]:
        """Return the values for the names of `POOL_FIELDS` in commands of other servers."""
        return {"workers": self.workers, "threads": self.threads, "at_once": self.at_once}


def parse(text: str) -> Pool:
    """Parse --pool: THREADS, or PROCESSESxTHREADS. Raises UsageError for anything else."""
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"--pool: {text!r} is neither a number of threads, such as 8, nor PROCESSESxTHREADS, such as 2x8"
        )
    return Pool(int(match[1] or 1), int(match[2]))


def default(pinned: Pinning) -> Pool:
    """Return the pool that `septet serve` chooses by default, on the CPUs that the servers are bound to."""
    return Pool(1, THREADS_PER_CPU * (len(pinned.server) or len(os.sched_getaffinity(0))))


def model_options(pool: Pool, takes: Mapping[str, frozenset[str]], interface: str | None) -> dict[str, tuple[str, ...]]:
    """Return, for each of Septet's models, the options of `septet serve` that give it the pool.

    Args:
        takes: which of the options "workers" and "threads" each model takes, by model.
        interface: of the application, "wsgi" or "asgi"; None: not known.
    """
    found: dict[str, tuple[str, ...]] = {}
    for model, names in takes.items():
        kind = kind_of(model, names, interface)
        if kind == PROCESSES:
            found[model] = ("--workers", str(pool.at_once))
            continue
        words = ["--workers", str(pool.workers)] if "workers" in names and pool.workers > 1 else []
        found[model] = (*words, *(("--threads", str(pool.threads)) if kind == THREADS else ()))
    return found


def kind_of(model: str, takes: frozenset[str], interface: str | None) -> str:
    """Return what the pool of one of Septet's models consists of: one of KINDS, or UNBOUNDED, or ONE."""
    if interface == "asgi" and model in _LOOPS:
        return LOOPS
    if "threads" in takes:
        return THREADS
    return {"preforked": PROCESSES, "iterative": ONE}.get(model, UNBOUNDED)


def describe(pool: Pool, kinds: Mapping[str, str | None]) -> str:
    """Return a sentence that says which pool each contender has.

    Args:
        kinds: for each contender one of KINDS, UNBOUNDED or ONE; None: its command determines it.
    """
    groups: dict[str | None, list[str]] = {}
    for name, kind in kinds.items():
        groups.setdefault(kind, []).append(name)
    order: Sequence[str | None] = (*KINDS, ONE, UNBOUNDED, None)
    told = [f"{', '.join(groups[kind])}: {_words(pool, kind)}" for kind in order if kind in groups]
    return f"The same pool for all, {pool.at_once} requests at a time: {'; '.join(told)}."


def _words(pool: Pool, kind: str | None) -> str:
    processes = f"{pool.workers} process{'es' * (pool.workers > 1)}"
    threads = f"{pool.threads} thread{'s' * (pool.threads > 1)}"
    whole = f"{pool.at_once} thread{'s' * (pool.at_once > 1)}"
    return {
        THREADS: threads if pool.workers == 1 else f"{processes} of {threads}",
        ONE_PROCESS: f"{whole} in one process",
        PROCESSES: f"{pool.at_once} processes with a request each",
        LOOPS: f"{processes} with a loop for all requests",
        ONE: "a request at a time in each of " + processes if pool.workers > 1 else "a request at a time",
        UNBOUNDED: "as many as there are clients",
    }.get(kind or "", "as its command says")
