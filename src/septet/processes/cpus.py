"""How many CPUs this process may use: those it is bound to, and no more than its control group is given.

In a container the CPUs of the machine are not ours: servers that count those start hundreds of workers in a group of
two.
"""

import math
import os

from septet.cgroups import cpu_quota


def usable_cpus() -> int:
    """At least 1."""
    bound = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def default_threads() -> int:
    """Eight for each CPU: a web application's thread mostly waits, for its database or for its client."""
    return 8 * usable_cpus()
