"""The pool of a comparison of servers: the processes and threads, and so the number of requests in progress at the same
time, that each contender (one of the servers) gets.

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
"""The names of the numbers of a pool (of processes and threads). Commands of other servers may have these names in
braces, such as {threads}, which the number replaces (see `septet.lab.contenders`).
"""
THREADS, PROCESSES, LOOPS, ONE_PROCESS = KINDS = ("threads", "processes", "loops", "one process of threads")
"""What the pool of a server in a comparison consists of: THREADS: threads in each process; PROCESSES: processes that
answer one request each; LOOPS: processes with an event loop each, for ASGI applications; ONE_PROCESS: all threads in a
single process, where a server can have no more.
"""
UNBOUNDED = "without a bound"
"""Says that a server in a comparison has no pool of fixed size, because it makes a thread or a process for every
client. Used in place of one of KINDS.
"""
ONE = "one"
"""Says that a server in a comparison answers one request at a time in each process. Used in place of one of KINDS."""
LOOP_MODELS = frozenset({"poll", "epoll", "io_uring"})
"""Septet's process models with one thread for all clients. An ASGI application runs on the event loop of that thread,
so it needs no pool of threads.
"""
_WRITTEN = re.compile(r"(?:([1-9][0-9]{0,4})x)?([1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class Pool:
    """The pool that every server in a comparison gets: a number of processes (`workers`), each with a number of
    `threads`.
    """

    workers: int = 1
    threads: int = THREADS_PER_CPU

    @property
    def at_once(self) -> int:
        """Largest number of requests that a WSGI application can have in progress at the same time: the threads of all
        processes.
        """
        return self.workers * self.threads

    @property
    def values(self) -> dict[str, int]:
        """Return the numbers of the pool by the names that commands of other servers may have in braces
        (`POOL_FIELDS`).
        """
        return {"workers": self.workers, "threads": self.threads, "at_once": self.at_once}


def parse(text: str) -> Pool:
    """Parse the value of --pool, the processes and threads that each compared server gets: THREADS, or
    PROCESSESxTHREADS. Raises UsageError for any other text.
    """
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"--pool: {text!r} is neither a number of threads, such as 8, nor PROCESSESxTHREADS, such as 2x8"
        )
    return Pool(int(match[1] or 1), int(match[2]))


def default(pinned: Pinning) -> Pool:
    """Return the pool that `septet serve` has by default on the CPUs that the servers are bound to: one process, with
    THREADS_PER_CPU threads for each of these CPUs.
    """
    return Pool(1, THREADS_PER_CPU * (len(pinned.server) or len(os.sched_getaffinity(0))))


def model_options(pool: Pool, takes: Mapping[str, frozenset[str]], interface: str | None) -> dict[str, tuple[str, ...]]:
    """Return, for each of Septet's process models, the options of `septet serve` that give it the processes and threads
    of `pool`.

    Args:
        takes: which of the options "workers" and "threads" each model takes, by model.
        interface: the interface of the application, "wsgi" or "asgi"; None: not known.
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


def by_default(cpus: int) -> dict[str, int]:
    """Return how many WSGI requests each process model with a pool answers at a time if no size is given, on so many
    CPUs.
    """
    threads, processes = THREADS_PER_CPU * cpus, 2 * cpus + 1
    return {
        **dict.fromkeys(("prethreaded", *sorted(LOOP_MODELS)), threads),
        **dict.fromkeys(("preforked", "interpreters"), processes),
    }


def told_by_default(models: Sequence[str], pinned: Pinning) -> str:
    """Return a sentence that says how many requests each of these process models answers at a time if no size is
    given.
    """
    cpus = default(pinned).threads // THREADS_PER_CPU
    sizes = by_default(cpus)
    pools: dict[str, list[str]] = {}
    for model in [each for each in sizes if each in models]:
        pools.setdefault(f"{sizes[model]} (--{'workers' if model == 'preforked' else 'threads'})", []).append(model)
    pools["1"] = [model for model in ("iterative",) if model in models]
    pools["one for each client"] = [model for model in ("forking", "threaded") if model in models]
    told = "; ".join(f"{', '.join(names)}: {size}" for size, names in pools.items() if names)
    return f"WSGI requests at a time, by default on {cpus} CPU{'s' * (cpus > 1)}: {told}."


def kind_of(model: str, takes: frozenset[str], interface: str | None) -> str:
    """Return what the pool of one of Septet's process models consists of: one of KINDS; UNBOUNDED for a model that
    makes a thread or process for every client; ONE for a model that answers one request at a time. `takes` has the
    names of the options, "workers" and "threads", that the model takes.
    """
    if interface == "asgi" and model in LOOP_MODELS:
        return LOOPS
    if "threads" in takes:
        return THREADS
    return {"preforked": PROCESSES, "iterative": ONE}.get(model, UNBOUNDED)


def describe(pool: Pool, kinds: Mapping[str, str | None]) -> str:
    """Return a sentence that says which processes and threads each server in a comparison has.

    Args:
        kinds: by the name of the server one of KINDS, UNBOUNDED or ONE, which say what its pool consists of; None: its
            own command determines that.
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
