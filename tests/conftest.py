"""What holds for all tests: the processes that they start by the thousand may keep their bytecode.

Where PYTHONDONTWRITEBYTECODE is set, as in many images of containers, each server would compile all of Septet at its
start, which takes two fifths of the start's CPU time.

The garbage collector looks at fourteen thousand collected tests only once in each process: a full collection would
otherwise take half a second there, many times.
"""

import gc
import os

from hypothesis import HealthCheck, settings

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")
"""Examples may have to wait for a CPU; `test_streams` measures the cost in a way that excludes waiting."""


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
