"""Sockets that a service manager has opened and hands over, by number or by name: LISTEN_FDS, LISTEN_FDNAMES and
LISTEN_PID of sd_listen_fds(3).

They are the descriptors from FIRST on. Several may have one name, as those of a socket unit with several addresses do:
`--bind fd://NAME` means them all.
"""

import os
from collections.abc import Iterable, Mapping

from septet.errors import UsageError
from septet.net.address import parse_address

FIRST = 3
"""The number of the first descriptor that a service manager passes, SD_LISTEN_FDS_START."""
MOST = 1024
"""The largest number of sockets (LISTEN_FDS) that is accepted; service managers pass fewer."""

_TRIAL = "_SEPTET_TRIAL"
"""Name of an environment variable that is set in a child process in which `processes.upgrade` tries the new
program, before the parent process executes that program (USR2). In the child LISTEN_PID may name the parent.
"""


def is_for_us(environ: Mapping[str, str]) -> bool:
    """Return True if LISTEN_PID names this process, so that the sockets which a service manager has passed are for
    it. In a child process that only tries a new program (`_TRIAL`) LISTEN_PID may also name the parent, which is
    about to execute that program.
    """
    pids = [os.getpid(), os.getppid()] if _TRIAL in environ else [os.getpid()]
    return environ.get("LISTEN_PID", "") in {str(pid) for pid in pids}


def with_numbers(binds: Iterable[str], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of `--bind`, with each `fd://NAME` replaced by `fd://N` for every passed socket of this name.
    Raises UsageError if no socket has the name.
    """
    found: list[str] = []
    for bind in binds:
        name = parse_address(bind).name
        found += [f"fd://{number}" for number in _numbers(name, environ)] if name else [bind]
    return tuple(found)


def _numbers(name: str, environ: Mapping[str, str]) -> list[int]:
    names = environ.get("LISTEN_FDNAMES", "").split(":") if is_for_us(environ) else []
    numbers = [number for number, each in enumerate(names, FIRST) if each == name]
    if not numbers:
        known = ", ".join(dict.fromkeys(filter(None, names))) or "no names: no service manager has handed sockets over"
        raise UsageError(f"--bind is 'fd://{name}', but must be a name in LISTEN_FDNAMES, which has {known}")
    return numbers
