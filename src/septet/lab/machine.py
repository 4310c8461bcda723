"""The machine that the figures come from: without it they mean nothing to anybody else."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

SYSCTLS = (
    "net.core.somaxconn",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_tw_reuse",
)


def describe() -> dict[str, Any]:
    """Processor, kernel, Python and the limits that a load test runs into. Holds no host or user name."""
    return {
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "distribution": _distribution(),
        "python": sys.version,
        "open_files_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "sysctl": {name: _read("/proc/sys/" + name.replace(".", "/")) for name in SYSCTLS},
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }


def cpu_model() -> str:
    """The processor's name as the kernel gives it, else the architecture."""
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(value.split())
    return platform.machine()


def load_average() -> tuple[float, float, float]:
    return os.getloadavg()


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
