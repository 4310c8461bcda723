"""Load from more than one machine: each worker of a Dask cluster carries out its share of one plan.

Dask distributes the work and carries a few messages; the load itself is made by processes of the load generator, one or
more on each worker, as on this machine. Each latency is measured by the clock of one machine and comes back as a count
in a histogram, so clocks need to be compared only for the common start. A run fails when the counts of any process are
missing at the end: figures of fewer users than were asked for would mislead.

    cluster_spec    parses --cluster: local:N, ssh:HOST,..., tcp://SCHEDULER
    launch          starts a scheduler and workers, on this machine or by ssh
    workers         lists the workers, checks that they can be used, compares their clocks
    worker_side     the functions that run on the workers
    coordinator     starts and coordinates the load processes; figures with each worker's part
    cluster         all of it together, as the commands use it

Dask is imported by `launch` and `cluster` alone, and they only when `--cluster` is given: it is the extra [cluster].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from septet.errors import UsageError
from septet.lab.cluster.cluster_spec import ClusterSpec

if TYPE_CHECKING:
    from septet.lab.cluster.cluster import Cluster

__all__ = ["HELP", "opened"]

HELP = "Load from the workers of local:N, ssh:HOST,HOST,... or tcp://SCHEDULER:PORT (Dask)."


@contextmanager
def opened(text: str) -> Iterator[Cluster]:
    """Yield the cluster that `--cluster` names, with all its workers connected and checked.

    Raises UsageError for a text that names no cluster, or when Dask is not installed, and Failed when workers are
    missing.
    """
    spec = ClusterSpec.read(text)
    try:
        from septet.lab.cluster import cluster, launch
    except ImportError:
        raise UsageError("--cluster needs Dask distributed: pip install 'septet[cluster]'") from None
    with launch.connected(spec) as client:
        yield cluster.Cluster(client, text)
