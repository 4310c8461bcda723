"""Reads what the kernel tells about processes and listening sockets, for metrics."""

import os
import socket
import sys
from contextlib import suppress
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

_UNACKED, _SACKED = 24, 28
"""Offsets in struct tcp_info (linux/tcp.h). For a listening socket they hold the length of its queue and the longest
allowed.
"""
_SO_MEMINFO = 55
_DROPS = 8
"""Index of the number of dropped connections in the array that SO_MEMINFO gives (SK_MEMINFO_DROPS in
linux/sock_diag.h).
"""


class Queue(NamedTuple):
    """The queue of a listening socket: connections that wait to be accepted."""

    depth: int
    limit: int
    drops: int | None
    """Number of connections that the kernel has dropped, because the queue was full or for another reason. None if the
    kernel's count for this socket has other things, too (TCP_DEFER_ACCEPT): see `connections_dropped`.
    """


def listen_queue(sock: socket.socket) -> Queue | None:
    """Return the queue of a listening socket; None for a unix socket, or if it is closed."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SACKED + 4)
        memory = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_DROPS + 1))
        deferred = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)
    except OSError:
        return None
    drops = None if deferred else _number(memory[4 * _DROPS :]) if len(memory) > 4 * _DROPS else 0
    return Queue(_number(info[_UNACKED : _UNACKED + 4]), _number(info[_SACKED:]), drops)


def connections_dropped() -> int | None:
    """Return how many connections the queues of all listening sockets in this network namespace have dropped since it
    was made (ListenDrops in /proc/net/netstat). None if the kernel does not tell.

    With TCP_DEFER_ACCEPT there is no such count for a single socket: the kernel discards the ACK that completes a
    handshake and waits for the first data instead, and adds each such ACK to the drops of the socket.
    """
    with suppress(OSError, ValueError):
        with open("/proc/self/net/netstat", "rb") as file:
            names, values = file.readline().split(), file.readline().split()
        return int(values[names.index(b"ListenDrops")])
    return None


def _number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


class Usage(NamedTuple):
    """CPU time and memory that one process has used."""

    cpu_s: float
    resident_bytes: int


def usage(pid: int) -> Usage | None:
    """Return the CPU time and memory of a process (proc_pid_stat(5)); None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS_PER_S, int(fields[21]) * _PAGE)


def is_stopped(pid: int) -> bool:
    """True if a process is stopped by a signal such as SIGSTOP, or by a debugger (states T and t in proc_pid_stat(5));
    False as well if there is no such process.
    """
    with suppress(OSError):
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in (b"T", b"t")
    return False


def wanted_cpu_s(pid: int, thread: int) -> float | None:
    """Return the seconds for which a thread of a process has run, or was ready to run while others had the CPU
    (proc_pid_schedstat(5)). None if the kernel does not tell.
    """
    with suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as file:
            ran_ns, ready_ns = file.read().split()[:2]
        return (int(ran_ns) + int(ready_ns)) / 1e9
    return None


def proportional_bytes(pid: int) -> int | None:
    """Return a process's own memory and its share of the memory that it has in common with others (PSS), in bytes. None
    if it may not be read.
    """
    with suppress(OSError):
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    return None
