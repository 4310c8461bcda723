"""Finds what a blocked thread waits for, from its system call and the arguments, read from /proc while it is blocked.

The tables have the numbers of system calls in which a server's thread may block for long, for x86-64 and for the
generic table (aarch64 and others). Source: arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h of Linux.

The GIL is recognised by an address: CPython keeps its lock in a static variable, so a futex(2) within the mapping of
the interpreter, or of libpython, is the GIL, and any other is a lock, a condition or a queue. That holds for CPython
3.11 to 3.13 with a GIL, in any server.
"""

from __future__ import annotations

import os
import platform
import re
import struct
import time
from enum import Enum, auto

from septet.lab.threads.sockets import Descriptors, Kind, waits
from septet.lab.threads.states import Call, State


class About(Enum):
    """Kinds of system calls. The kind of the call in which a thread is blocked, and the first arguments of the call,
    tell what the thread waits for.
    """

    DESCRIPTOR = auto()  # the first is a descriptor that it reads, writes or connects
    POLL = auto()  # the first is an array of struct pollfd, the second its length
    EPOLL = auto()  # the first is an epoll descriptor
    RING = auto()
    FUTEX = auto()  # the first is the address of the word that it waits for
    SLEEP = auto()
    CHILD = auto()  # or a signal, which is how a parent waits for all of them
    FILE = auto()  # a path or a disk file, in some argument
    SELECT = auto()
    LOCK = auto()  # of a file


_X86_64 = {
    About.DESCRIPTOR: (0, 1, 19, 20, 40, 42, 43, 44, 45, 46, 47, 288, 299, 307),
    About.POLL: (7, 271),
    About.EPOLL: (232, 281, 441),
    About.RING: (426,),
    About.FUTEX: (202, 449),
    About.SLEEP: (35, 230),
    About.CHILD: (34, 61, 128, 130, 247),
    About.FILE: (2, 4, 5, 6, 17, 18, 74, 75, 77, 82, 83, 87, 257, 262, 263, 277, 285, 295, 296, 332, 437),
    About.SELECT: (23, 270),
    About.LOCK: (72, 73),
}
_GENERIC = {
    About.DESCRIPTOR: (63, 64, 65, 66, 71, 202, 203, 206, 207, 211, 212, 242, 243, 269),
    About.POLL: (73,),
    About.EPOLL: (22, 441),
    About.RING: (426,),
    About.FUTEX: (98, 449),
    About.SLEEP: (101, 115),
    About.CHILD: (95, 133, 137, 260),
    About.FILE: (35, 45, 46, 47, 56, 67, 68, 69, 70, 79, 80, 81, 82, 83, 291, 437),
    About.SELECT: (72,),
    About.LOCK: (25, 32),
}


def _by_number(table: dict[About, tuple[int, ...]]) -> dict[int, About]:
    return {number: about for about, numbers in table.items() for number in numbers}


ABOUT = _by_number(_X86_64 if platform.machine() == "x86_64" else _GENERIC)


_POLLFD = struct.Struct("<ihh")
_POLLED_MAX = 64
"""A thread in poll(2) with more descriptors than this is taken for an event loop that waits for any event; its
descriptors are not looked up.
"""
_FRESH_NS = 20_000_000
"""Nanoseconds for which the answer to "what does a thread wait for that is in this system call with this first
argument" is remembered, so that it need not be found again.
"""
_IDLE_POLL = 4
"""A thread in poll(2) on a client and a listener is taken for a worker that waits for the next request of its client if
it polls at most this many descriptors: the client, one or two listeners, and a wake-up descriptor. If it polls more, it
is an event loop.
"""
_INTERPRETER = re.compile(r"/(lib)?python[^/]*$")

_ALWAYS: dict[About | None, State] = {
    About.RING: State.RING,
    About.SELECT: State.EVENTS,
    About.SLEEP: State.SLEEP,
    About.CHILD: State.CHILD,
    About.FILE: State.DISK,
    About.LOCK: State.LOCK,
}

Range = tuple[int, int]


class Reasons:
    """Finds what threads of a server wait for; `ports` are those at which the server listens.

    It also remembers which system call was made from which instruction address, because `afterwards`, which is asked
    about a thread that was blocked a moment ago, is told the address but not the call's number.
    """

    def __init__(self, ports: frozenset[int]) -> None:
        self._descriptors = Descriptors(ports)
        self._numbers: dict[int, int] = {}
        """The number of the system call that was made at each instruction address; the key is the address after the
        instruction, to which the call returns.
        """
        self._interpreters: dict[int, list[Range]] = {}
        self._seen: dict[tuple[int, int, int, int], State] = {}
        self._recent: dict[tuple[int, int, int], tuple[int, State | None]] = {}
        self._polls: dict[tuple[int, int], State] = {}
        """The last state that was found for a thread in poll(2), by (pid, number of polled descriptors). It serves when
        the array of descriptors cannot be read any more.
        """

    def now(self, pid: int, number: int, call: Call) -> State:
        """Return what a thread of process `pid`, which is blocked in system call `number` now, waits for. `call` has
        the arguments of the system call. Returns OTHER if this cannot be found out.

        The address of the call is remembered with its number, for `afterwards`: each function of glibc makes its system
        call from an address of its own. Only syscall(3) makes all calls from one address.
        """
        self._numbers[call.address] = number
        state = self._find(pid, number, call) or State.OTHER
        self._seen[pid, number, call.first, call.second] = state
        return state

    def afterwards(self, pid: int, call: Call) -> State | None:
        """Return what a thread of process `pid`, which was blocked in the system call `call` a moment ago, waited for;
        None if it is not known.

        After so short a time a descriptor still refers to the same file. But the array of a poll(2) may be gone: most
        are on a stack, or freed. So for poll(2) a state that `now` found while the thread was blocked is preferred.
        """
        number = self._numbers.get(call.address)
        if number is None:
            return None
        seen = self._seen.get((pid, number, call.first, call.second))
        if ABOUT.get(number) is About.POLL:
            return seen or self._find(pid, number, call) or self._polls.get((pid, call.second))
        return self._find(pid, number, call) or seen

    def _find(self, pid: int, number: int, call: Call) -> State | None:
        about = ABOUT.get(number)
        if about is About.POLL:
            return self._polled(pid, call.first, call.second)
        if about in _ALWAYS:
            return _ALWAYS[about]
        now = time.monotonic_ns()
        at, state = self._recent.get((pid, number, call.first), (0, None))
        if now - at > _FRESH_NS:
            state = self._look_up(pid, about, call.first)
            self._recent[pid, number, call.first] = now, state
        return state

    def _look_up(self, pid: int, about: About | None, argument: int) -> State | None:
        match about:
            case About.DESCRIPTOR:
                return waits([self._descriptors.kind(pid, argument)], State.OTHER)
            case About.EPOLL:
                return self._watched(pid, argument)
            case About.FUTEX:
                return State.GIL if self._in_interpreter(pid, argument) else State.LOCK
        return None

    def _polled(self, pid: int, address: int, count: int) -> State | None:
        """Return the state of a thread in poll(2). It is found from the descriptors in the array of struct pollfd at
        `address` in the memory of process `pid`; None if the array cannot be read any more, or one of the descriptors
        is not known.
        """
        if not 0 < count <= _POLLED_MAX:
            return State.EVENTS if count else State.SLEEP
        data = _memory(pid, address, count * _POLLFD.size)
        kinds = {self._descriptors.kind(pid, descriptor) for descriptor, _, _ in _POLLFD.iter_unpack(data)}
        if not kinds or None in kinds or Kind.FILE in kinds:  # files are not polled: the array is gone
            return None
        if kinds >= {Kind.CLIENT, Kind.LISTENER} and count <= _IDLE_POLL:
            kinds.discard(Kind.LISTENER)  # a worker that waits for an idle client also watches the listener
        state = waits(kinds, State.EVENTS)
        if state is not None:
            self._polls[pid, count] = state
        return state

    def _watched(self, pid: int, descriptor: int) -> State | None:
        try:
            with open(f"/proc/{pid}/fdinfo/{descriptor}") as file:
                watched = [int(line.split()[1]) for line in file if line.startswith("tfd:")]
        except OSError:
            return None
        if len(watched) > _POLLED_MAX:
            return State.EVENTS
        kinds = {self._descriptors.kind(pid, each) for each in watched}
        if None in kinds:  # a connection too new to be known: an event loop has it
            return State.EVENTS
        state = waits(kinds, State.EVENTS)
        return State.EVENTS if state is State.CLIENT else state

    def _in_interpreter(self, pid: int, address: int) -> bool:
        if pid not in self._interpreters:
            self._interpreters[pid] = interpreter_ranges(_lines(f"/proc/{pid}/maps"))
        return any(start <= address < end for start, end in self._interpreters[pid])


def interpreter_ranges(maps: list[str]) -> list[Range]:
    """Return the address ranges (start, end) in which a process has the code and the static variables of its Python
    interpreter. `maps` has the lines of its /proc/PID/maps.

    Variables that begin as zero (.bss) have no file: they are in the anonymous mapping that follows the last one of the
    interpreter's file.
    """
    ranges: list[Range] = []
    for line in maps:
        fields = line.split(maxsplit=5)
        start, end = (int(text, 16) for text in fields[0].split("-"))
        path = fields[5] if len(fields) > 5 else ""
        if _INTERPRETER.search(path) or (not path and ranges and ranges[-1][1] == start):
            ranges.append((start, end))
    return ranges


def _memory(pid: int, address: int, size: int) -> bytes:
    """Return `size` bytes at `address` in the memory of process `pid`; b"" if they cannot be read."""
    try:
        descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, size, address)
            return data if len(data) == size else b""
        finally:
            os.close(descriptor)
    except (OSError, OverflowError):
        return b""


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []
