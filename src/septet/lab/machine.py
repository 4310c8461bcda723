"""Describes the machine on which figures were measured. Without this description figures of different experiments
cannot be compared.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import sysconfig
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from septet import cgroups
from septet.lab.proc import machine_times

SYSCTLS = (
    "net.core.somaxconn",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_max_tw_buckets",
    "net.core.netdev_max_backlog",
    "kernel.perf_event_paranoid",
)
CGROUP_FILES = ("cpu.max", "memory.max", "pids.max")
BUILD_VARIABLES = ("CONFIG_ARGS", "PY_CFLAGS", "Py_GIL_DISABLED")


def describe() -> dict[str, Any]:
    """Return the processor, the kernel, the version of Python and the limits that matter for load tests, without the
    names of the host and of users.
    """
    return {
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "distribution": _distribution(),
        "clock_source": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "threads_per_core": _threads_per_core(),
        "cgroup": cgroup_limits(),
        "python": sys.version,
        "python_build": {name: sysconfig.get_config_var(name) for name in BUILD_VARIABLES},
        "packages": packages(),
        "open_files_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "sysctl": {name: _read("/proc/sys/" + name.replace(".", "/")) for name in SYSCTLS},
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }


def cpu_model() -> str:
    """Return the name of the processor as the kernel gives it, or the name of the architecture if it gives none."""
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(value.split())
    return platform.machine()


def load_average() -> tuple[float, float, float]:
    return os.getloadavg()


def busy_share(seconds: float = 0.5) -> float:
    """Return the share of the machine's CPUs, from 0 to 1, that programs and the hypervisor use now. It is measured for
    so many `seconds`.
    """
    before, begun = sum(machine_times()), time.monotonic()
    time.sleep(seconds)
    return min(1.0, (sum(machine_times()) - before) / (time.monotonic() - begun) / (os.cpu_count() or 1))


def cgroup_limits() -> dict[str, str]:
    """Return the limits of this process's own control group (cgroups(7), version 2), by the name of the file that has
    them, such as "memory.max". The value "max" means no limit.
    """
    own = next(cgroups.groups(""))  # only version 2 has all files of a group in one directory
    return {name: text for name in CGROUP_FILES if (text := cgroups.read(own / name).strip())}


def packages() -> dict[str, str]:
    """Return the version of each Python package that is installed here, by name."""
    found = ((each.metadata["Name"], each.version) for each in metadata.distributions())
    return dict(sorted((name, version) for name, version in found if name))


def _threads_per_core() -> int | None:
    """Return how many hardware threads a core of the processor has; None if that is not known. With more than 1, two
    CPUs of the kernel may share a core's computing units.
    """
    siblings = _read("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    if siblings is None:
        return None
    first, dash, last = siblings.partition("-")
    return int(last) - int(first) + 1 if dash else siblings.count(",") + 1


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
