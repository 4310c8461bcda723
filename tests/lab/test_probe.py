"""The probe itself: a process beside the server that times fixed work."""

import os
import time

from septet.lab.probe import ROUNDS, probing, work
from support.waiting import wait_until


def test_the_work_is_timed_and_costs_little() -> None:
    begun_ns = time.monotonic_ns()
    with probing(()) as probe:
        pid = probe.pid
        wait_until(lambda: probe.usage(begun_ns, time.monotonic_ns())["probe_samples"] >= 10, "ten samples have come")
        found = probe.usage(begun_ns, time.monotonic_ns())
        assert 5 < found["probe_us"] < 5000
        assert found["probe_cold_us"] > 0
        used_s, passed_s = time.clock_gettime(~pid << 3 | 2), (time.monotonic_ns() - begun_ns) / 1e9
        assert used_s < 0.1 + 0.05 * passed_s  # Python's own start, and less than 5 %, on whatever machine
        nothing = probe.usage(time.monotonic_ns() + 10**9, time.monotonic_ns() + 2 * 10**9)
        assert nothing == {"probe_us": None, "probe_cold_us": None, "probe_samples": 0, "cpu_mhz": None}
    assert not os.path.exists(f"/proc/{pid}")


def test_the_work_is_fixed() -> None:
    assert work() == work() == ROUNDS
