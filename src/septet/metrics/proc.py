"""What the kernel tells of processes and of listening sockets, for whoever is asked for the metrics."""

import os
import socket
import sys
from contextlib import suppress
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

_UNACKED, _SACKED = 24, 28
"""Offsets in struct tcp_info (linux/tcp.h). Of a listening socket they are the length of its queue and the bound."""
_SO_MEMINFO = 55
_DROPS = 8
"""Index in the array that SO_MEMINFO gives (SK_MEMINFO_DROPS in linux/sock_diag.h)."""


class Queue(NamedTuple):
    """The queue of a listening socket: connections that wait to be accepted."""

    depth: int
    limit: int
    drops: int
    """Connections that the kernel has dropped because the queue was full, or for another reason."""


def listen_queue(sock: socket.socket) -> Queue | None:
    """None for a unix socket, and when it is closed."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SACKED + 4)
        memory = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_DROPS + 1))
    except OSError:
        return None
    drops = memory[4 * _DROPS :] if len(memory) > 4 * _DROPS else b""
    return Queue(_number(info[_UNACKED : _UNACKED + 4]), _number(info[_SACKED:]), _number(drops))


def _number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


class Usage(NamedTuple):
    """What one process has used."""

    cpu_s: float
    resident_bytes: int


def usage(pid: int) -> Usage | None:
    """None if there is no such process. proc_pid_stat(5)"""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS_PER_S, int(fields[21]) * _PAGE)


def wanted_cpu_s(pid: int, thread: int) -> float | None:
    """Seconds for which a thread has run, or was ready to run while others had the CPU. proc_pid_schedstat(5)"""
    with suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as file:
            ran_ns, ready_ns = file.read().split()[:2]
        return (int(ran_ns) + int(ready_ns)) / 1e9
    return None


def proportional_bytes(pid: int) -> int | None:
    """The process's own memory and its share of what it shares (PSS); None if it may not be read."""
    with suppress(OSError):
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    return None
