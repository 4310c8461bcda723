"""A pool of processes, made beforehand: each serves one client after another.

N workers are forked before the first client connects, and all of them accept from the same listener: the kernel wakes
one of those that wait. N clients are served at the same time, on as many CPUs as there are; the next ones wait for
the first worker that is done. A worker that dies takes one client with it, and is replaced.

                                ┌─> worker 1: accept ─> serve ─> close ─┐
          clients ── backlog ───┼─> worker 2: accept ─> serve ─> close ─┤
                                └─> worker N: accept ─> serve ─> close ─┘
                                       ^ fork            supervisor ┘

    iterative.run  what each worker does: accept a client, serve it, accept the next
    supervise      forks the workers, forks another for one that ends, and stops them all at the end
"""

from septet.models import iterative
from septet.processes.capacity import usable_cpus
from septet.processes.supervisor import supervise
from septet.service import Service

CONCURRENCY = "processes"


def run(service: Service) -> None:
    supervise(service, iterative.run, service.workers or default_workers(), service.most_workers)


def default_workers() -> int:
    """Return the number of workers without `--workers`: two for each CPU, so that one may wait while the other
    computes, and one more."""
    return 2 * usable_cpus() + 1
