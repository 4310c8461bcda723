"""Records every context switch of a server: perf_event_open(2) by ctypes.

One software event for each CPU follows the server's first thread and, by inheritance, everything that it starts. The
kernel writes PERF_RECORD_SWITCH whenever one of these threads gets or loses a CPU, and FORK and EXIT, into a ring of
shared memory that is drained every few milliseconds. A record costs about half a microsecond.

A process that may profile the kernel (root, CAP_PERFMON, or any user at kernel.perf_event_paranoid <= 1) also gets the
registers of the thread with each switch, so that the system call of every wait is known, and not only of the waits
during which a sample was taken. At paranoid 2 there are the switches alone.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import ExitStack

from septet.lab.threads.states import Call
from septet.lab.trace.timeline import Born, Died, Record, SwitchedIn, SwitchedOut

_SYSCALL = {"x86_64": 298, "aarch64": 241}  # perf_event_open, from asm/unistd.h
_PAGE = mmap.PAGESIZE
_CLOCK_MONOTONIC = 1
_PAGES = (256, 128, 32)  # for each CPU; users may lock perf_event_mlock_kb, by default 129 pages

# struct perf_event_attr, from linux/perf_event.h; the size is that of PERF_ATTR_SIZE_VER5 (Linux 4.1).
_ATTR_BYTES = 112
_ATTR = struct.Struct("<IIQQQQQIIQQQQIiQ")
_TYPE_SOFTWARE, _SW_CONTEXT_SWITCHES, _SW_DUMMY = 1, 3, 9
_SAMPLE_TID, _SAMPLE_TIME, _SAMPLE_REGS_USER = 1 << 1, 1 << 2, 1 << 12
_DISABLED, _INHERIT, _EXCLUDE_KERNEL, _TASK = 1 << 0, 1 << 1, 1 << 5, 1 << 13
_SAMPLE_ID_ALL, _USE_CLOCKID, _CONTEXT_SWITCH = 1 << 18, 1 << 25, 1 << 26
_FLAG_FD_CLOEXEC = 8
_IOC_ENABLE, _IOC_DISABLE = 0x2400, 0x2401
_HEAD_OFFSET = 1024  # of data_head in struct perf_event_mmap_page; data_tail follows

_HEADER = struct.Struct("<IHH")
_LOST, _EXIT, _FORK, _SAMPLE, _LOST_SAMPLES, _SWITCH = 2, 4, 7, 9, 13, 14
_OUT, _PREEMPTED = 1 << 13, 1 << 14  # PERF_RECORD_MISC_SWITCH_OUT, ..._OUT_PREEMPT
_TASK_BODY = struct.Struct("<IIIIQ")  # pid, ppid, tid, ptid, time
_ID = struct.Struct("<IIQ")  # what sample_id_all appends for TID and TIME: pid, tid, time
_REGISTERS = struct.Struct("<IIQQQQQ")  # pid, tid, time, abi, then the registers of the mask, lowest number first

# asm/perf_regs.h: SI is 4, DI is 5, IP is 8. On x86-64 DI and SI hold a system call's first and second argument.
_X86_MASK = 1 << 4 | 1 << 5 | 1 << 8

_libc = ctypes.CDLL(None, use_errno=True)


class Switches:
    """Records the context switches of a process, and of all threads and processes that it starts from now on.

    Args:
        registers: True to ask for the registers at each switch; where the kernel refuses them, there are none.

    Attributes:
        registers: True if there are registers, so that each wait comes with its system call.
        lost: records so far for which the kernel had no space.

    Raises OSError where the kernel does not have perf_event_open, or does not permit it.
    """

    def __init__(self, pid: int, registers: bool = True) -> None:
        self.lost = 0
        self._descriptors: list[int] = []
        self._rings: list[mmap.mmap] = []
        self._calls: dict[int, Call | None] = {}
        self._stack = ExitStack()
        with self._stack:
            self.registers = self._open(pid, registers and platform.machine() == "x86_64")
            for descriptor in self._descriptors:
                self._rings.append(self._stack.enter_context(_map(descriptor)))
            self._stack = self._stack.pop_all()

    def _open(self, pid: int, registers: bool) -> bool:
        """Open one event for each CPU, with registers if asked for and permitted; returns True if registers are
        recorded.
        """
        for cpu in _online():
            try:
                descriptor = _perf_event_open(_attributes(registers), pid, cpu)
            except PermissionError:
                if not registers or self._descriptors:
                    raise
                registers = False
                descriptor = _perf_event_open(_attributes(registers), pid, cpu)
            self._descriptors.append(descriptor)
            self._stack.callback(os.close, descriptor)
        return registers

    def begin(self) -> None:
        """Begin to record the switches, also of threads that were started since this object was created."""
        self._order(_IOC_ENABLE)

    def end(self) -> None:
        self._order(_IOC_DISABLE)

    def _order(self, request: int) -> None:
        for descriptor in self._descriptors:
            if _libc.ioctl(descriptor, ctypes.c_ulong(request), 0) < 0:
                raise _error()

    def close(self) -> None:
        self._stack.close()

    def drain(self) -> list[Record]:
        """Return the records since the last call; in order for each CPU, but not between CPUs."""
        return [record for ring in self._rings for record in self._decode(_take(ring))]

    def _decode(self, data: bytes) -> Iterator[Record]:
        offset = 0
        while offset < len(data):
            kind, misc, size = _HEADER.unpack_from(data, offset)
            if size < _HEADER.size:
                self.lost += 1  # no record is so short: what follows cannot be read, and a length of 0 has no end
                return
            body, offset = offset + _HEADER.size, offset + size
            if kind == _SWITCH:
                pid, tid, time = _ID.unpack_from(data, body)
                if misc & _OUT:
                    yield SwitchedOut(time, pid, tid, bool(misc & _PREEMPTED), self._calls.pop(tid, None))
                else:
                    yield SwitchedIn(time, pid, tid)
            elif kind == _SAMPLE:
                _, tid, _, abi, *registers = _REGISTERS.unpack_from(data, body) if size > 32 else (0, 0, 0, 0)
                if abi:
                    second, first, address = registers
                    self._calls[tid] = Call(address, first, second)  # the switch itself follows at once
            elif kind in (_FORK, _EXIT):
                pid, _, tid, _, time = _TASK_BODY.unpack_from(data, body)
                yield (Born if kind == _FORK else Died)(time, pid, tid)
            elif kind in (_LOST, _LOST_SAMPLES):
                self.lost += struct.unpack_from("<Q", data, body + (8 if kind == _LOST else 0))[0]


def _attributes(registers: bool) -> bytearray:
    flags = _DISABLED | _INHERIT | _TASK | _SAMPLE_ID_ALL | _USE_CLOCKID | _CONTEXT_SWITCH
    config, period, sample, mask = _SW_DUMMY, 0, _SAMPLE_TID | _SAMPLE_TIME, 0
    if registers:
        config, period, sample, mask = _SW_CONTEXT_SWITCHES, 1, sample | _SAMPLE_REGS_USER, _X86_MASK
    else:
        flags |= _EXCLUDE_KERNEL
    fields = (_TYPE_SOFTWARE, _ATTR_BYTES, config, period, sample, 0, flags, 1, 0, 0, 0, 0, mask, 0)
    return bytearray(_ATTR.pack(*fields, _CLOCK_MONOTONIC, 0).ljust(_ATTR_BYTES, b"\0"))


def _perf_event_open(attributes: bytearray, pid: int, cpu: int) -> int:
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(f"perf_event_open is not supported here on {platform.machine()}")
    buffer = (ctypes.c_char * len(attributes)).from_buffer(attributes)
    descriptor: int = _libc.syscall(number, buffer, pid, cpu, -1, _FLAG_FD_CLOEXEC)
    if descriptor < 0:
        raise _error()
    return descriptor


def _map(descriptor: int) -> mmap.mmap:
    """Map the ring of an event: its header page, and as many pages of data as this user may lock in memory."""
    for pages in _PAGES:
        try:
            return mmap.mmap(descriptor, (1 + pages) * _PAGE)
        except OSError:
            if pages == _PAGES[-1]:
                raise
    raise AssertionError("one of the sizes was mapped or raised")


def _take(ring: mmap.mmap) -> bytes:
    """Return the records that the kernel has written to the ring since the last call (those between its tail and its
    head), and free their space.

    No memory barrier is needed between head and data on x86, where loads are not reordered; elsewhere, the system calls
    that Python makes between two drains act as one.
    """
    head, tail = struct.unpack_from("<QQ", ring, _HEAD_OFFSET)
    size = len(ring) - _PAGE
    first, last = tail % size, head % size
    data = ring[_PAGE + first : _PAGE + last] if first <= last else ring[_PAGE + first :] + ring[_PAGE : _PAGE + last]
    struct.pack_into("<Q", ring, _HEAD_OFFSET + 8, head)
    return data


def _online() -> list[int]:
    """Return the CPUs that are online, from the kernel's list, such as 0-3,6."""
    with open("/sys/devices/system/cpu/online") as file:
        spans = [span.split("-") for span in file.read().strip().split(",")]
    return [cpu for span in spans for cpu in range(int(span[0]), int(span[-1]) + 1)]


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
