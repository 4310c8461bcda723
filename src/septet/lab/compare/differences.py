"""Lists what differs between the machines and experiments of two results, since it can explain different figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from septet.lab.results import Results

MACHINE = {
    "cpu": "processor",
    "cpus": "CPUs",
    "cpus_usable": "CPUs that may be used",
    "threads_per_core": "threads of a core",
    "governor": "frequency governor",
    "memory_bytes": "memory in bytes",
    "kernel": "kernel",
    "architecture": "architecture",
    "distribution": "distribution",
    "clock_source": "clock source",
    "cgroup": "limits of the control group",
    "python": "Python",
    "python_build": "build of Python",
    "open_files_limit": "limit of open files",
    "sysctl": "kernel settings",
}
EXPERIMENT = {
    "app": "application",
    "path": "path",
    "scenario": "scenario",
    "mode": "connections",
    "streams": "streams on a connection",
    "host": "address of the servers",
    "cluster": "where the load comes from",
    "profile": "profile",
    "duration_s": "seconds measured",
    "warmup_s": "seconds of warm-up, at least",
    "warmup_max_s": "seconds of warm-up, at most",
    "timeout_s": "time-out in seconds",
    "repeats": "repeats",
    "for_s": "seconds in all, at most",
    "serve_options": "options of the server",
    "model_options": "options of single models",
    "pinned": "CPUs of the server and of the users",
}
PACKAGES_SHOWN = 8


def differences(a: Results, b: Results) -> list[str]:
    """Return the differences as sentences without a full stop: between the machines, the experiments, the installed
    packages and the commands of other servers; and whether A or B was interrupted.
    """
    return [
        *_changed(a["machine"], b["machine"], MACHINE),
        *_changed(a["experiment"], b["experiment"], EXPERIMENT),
        *_packages(a["machine"].get("packages", {}), b["machine"].get("packages", {})),
        *_commands(a["experiment"], b["experiment"]),
        *(f"{name} was interrupted" for name, each in (("A", a), ("B", b)) if each["finished"] is None),
    ]


def _changed(a: Mapping[str, Any], b: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each key of `titles` whose values in `a` and `b` differ. `titles` has the name of each key
    in the sentence.

    A key that only one of the two has is left out: an older version may not have recorded it.
    """
    for key, title in titles.items():
        if key not in a or key not in b or a[key] == b[key]:
            continue
        if isinstance(a[key], dict):
            yield from _changed(a[key], b[key], {name: f"{title}: {name}" for name in a[key]})
        else:
            yield f"{title}: {_text(a[key])} in A, {_text(b[key])} in B"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None or value == "" else " ".join(str(value).split())


def _packages(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    changed = [
        f"{name} {a.get(name, 'not installed')} in A, {b.get(name, 'not installed')} in B"
        for name in sorted(a.keys() | b.keys(), key=str.lower)
        if name != "septet" and a.get(name) != b.get(name)
    ]
    if changed:
        more = f", and {len(changed) - PACKAGES_SHOWN} more" if len(changed) > PACKAGES_SHOWN else ""
        yield "packages: " + "; ".join(changed[:PACKAGES_SHOWN]) + more


def _commands(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each server other than Septet that both experiments have, with different commands."""
    servers = {each["name"]: each["command"] for each in a["others"]}
    for each in b["others"]:
        if each["command"] != servers.get(each["name"], each["command"]):
            yield f"command of {each['name']}: {servers[each['name']]} in A, {each['command']} in B"
