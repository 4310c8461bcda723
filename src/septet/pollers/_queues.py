"""The submission and completion queues that a process shares with the kernel, and io_uring_enter(2); no callbacks.

Both queues are rings in shared memory. We write submissions (64 bytes each) and advance the submission queue's tail.
The kernel writes completions (16 bytes each) and advances the completion queue's tail. The reader of a queue advances
its head. Heads and tails only grow, modulo 2**32; an entry's slot is its position modulo the queue's size.
`ring.py` explains the design.
"""

import ctypes
import errno
import mmap
import os
import time
import weakref
from collections import deque
from threading import Lock, get_ident
from typing import NoReturn

from septet.pollers import _uring_abi as abi
from septet.pollers._unavailable import unavailable

Completion = tuple[int, int, int]
"""A completion: the token of its submission, its result or -errno, and its flags."""

_REQUIRED = abi.FEAT_SINGLE_MMAP | abi.FEAT_NODROP | abi.FEAT_EXT_ARG | abi.FEAT_CQE_SKIP
_FLAGS = (
    abi.SETUP_CQSIZE
    | abi.SETUP_SUBMIT_ALL
    | abi.SETUP_COOP_TASKRUN
    # The kernel sets a bit in the submission queue's flags when completions wait for us to enter.
    | abi.SETUP_TASKRUN_FLAG
    # The ring is bound to the thread that enables it: the one that waits first, not the one that made it.
    | abi.SETUP_R_DISABLED
)
_TRY_AGAIN = (-errno.EBUSY, -errno.EAGAIN, -errno.ENOMEM)
"""Errors of io_uring_enter(2) that pass: it lacks memory for more requests, or (EBUSY, older kernels) the completion
queue is full and more completions wait. Collect the completions, then try again."""

RETRY_DELAY_S = 0.001
"""Seconds before io_uring_enter(2) is tried again after one of the errors _TRY_AGAIN, if no completion could be
collected.
"""

_ONE_THREAD = abi.SETUP_SINGLE_ISSUER | abi.SETUP_DEFER_TASKRUN


class Fence:
    """A memory barrier: accesses before the call take effect before accesses after it.

    Needed only where the kernel uses the ring while we are not inside io_uring_enter(2). Releasing and acquiring a lock
    is the one operation of Python that orders memory accesses on processors that reorder them.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = Lock()

    def __call__(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:  # it is not held: the first call, or an exception has come between the two calls of it
            pass
        self._lock.acquire(False)


class Queues:
    """A ring's memory and its three operations: `put` a submission, `enter` the kernel, `reap` the completions.

    Args:
        entries: size of the submission queue, a power of 2. The completion queue has four times as many entries,
            because one submission can complete often. The kernel keeps what does not fit (IORING_FEAT_NODROP).
        shared: several threads use it, one at a time. The kernel then completes operations at any time, not only
            during `enter`.

    Raises:
        RingUnavailable: an OSError whose text says why io_uring cannot be used here and what to do.
    """

    _fd = -1

    def __init__(self, entries: int, shared: bool = False) -> None:
        self._enabled = False
        self._fence = Fence() if shared else None
        self.thread = 0
        """If it is shared: the thread that has submitted last (get_ident), which the kernel has complete what it has
        submitted.
        """
        self._sq_tail = self._cq_head = self._prepared = 0
        self._late: deque[Completion] = deque()
        """Completions that were taken from the queue and for which no callback has been called yet; `reap` returns
        them first.
        """
        try:
            fd, params = _create(entries, _FLAGS if shared else _FLAGS | _ONE_THREAD)
            try:
                self._map(fd, params)
            except OSError:
                os.close(fd)
                raise
        except OSError as exc:
            raise unavailable(exc.errno or 0) from exc
        self._fd = fd
        _inherited.add(self)

    def _map(self, fd: int, params: tuple[int, ...]) -> None:
        """Map both queues and the submission entries, and locate the words that we read and write."""
        self._entries, cq_entries = params[0], params[1]
        sq, cq = params[7:17], params[17:27]
        size = max(sq[6] + 4 * self._entries, cq[5] + abi.CQE.size * cq_entries)
        self._memory = _shared(fd, size, abi.MMAP_RINGS)
        self._sqes = _shared(fd, self._entries * abi.SQE.size, abi.MMAP_SQES)
        self._words = memoryview(self._memory)[: size & ~3].cast("I")
        self._cqes = memoryview(self._memory)[cq[5] : cq[5] + abi.CQE.size * cq_entries]
        self._sq_tail_at, self._cq_head_at, self._cq_tail_at = sq[1] // 4, cq[0] // 4, cq[1] // 4
        self._sq_head_at, self._sq_flags_at = sq[0] // 4, sq[4] // 4
        self._sq_mask, self._cq_mask = self._entries - 1, cq_entries - 1
        for i in range(self._entries):  # the kernel finds submissions through this table: slot i is entry i
            self._words[sq[6] // 4 + i] = i
        # struct io_uring_getevents_arg {sigmask, sigmask_sz, pad, ts} and the __kernel_timespec that ts points to.
        self._arg = bytearray(40)
        self._arg_at, self._arg_size = ctypes.c_void_p(abi.address(self._arg)), ctypes.c_size_t(24)
        self._arg_words = memoryview(self._arg).cast("q")
        self._arg_words[2] = abi.address(self._arg) + 24

    def put(
        self,
        token: int,
        opcode: int,
        fd: int,
        addr: int = 0,
        length: int = 0,
        op_flags: int = 0,
        ioprio: int = 0,
        sqe_flags: int = 0,
        group: int = 0,
        offset: int = 0,
    ) -> None:
        """Write a submission into the submission queue; the arguments are the fields of struct io_uring_sqe. If the
        queue is full, what is in it is submitted to the kernel first.
        """
        while self._prepared >= self._entries:
            self.enter(0)
        at = (self._sq_tail & self._sq_mask) << 6
        abi.SQE.pack_into(self._sqes, at, opcode, sqe_flags, ioprio, fd, offset, addr, length, op_flags, token, group)
        self._sq_tail += 1
        self._prepared += 1

    def enter(self, timeout_s: float | None) -> None:
        """io_uring_enter(2): submit everything that was put, and wait until there is a completion.

        It waits up to `timeout_s` seconds (None: no limit, 0: not at all). It returns early when a signal arrives, or
        when completions have to be collected before more can be submitted.

        Raises:
            RuntimeError: the ring is closed, or it belongs to another thread or process.
            OSError: the system call failed in another way.
        """
        if not self._enabled:
            self.enable()
        if self._late:
            timeout_s = 0
        if self._fence is not None:
            self.thread = get_ident()
        self._words[self._sq_tail_at] = self._sq_tail & 0xFFFF_FFFF
        if timeout_s is None:
            code = abi.enter(self._fd, self._prepared, 1, abi.ENTER_GETEVENTS)
        elif timeout_s <= 0:
            code = abi.enter(self._fd, self._prepared, 0, abi.ENTER_GETEVENTS)
        else:
            self._arg_words[3], self._arg_words[4] = abi.timespec(timeout_s)
            flags = abi.ENTER_GETEVENTS | abi.ENTER_EXT_ARG
            code = abi.enter(self._fd, self._prepared, 1, flags, self._arg_at, self._arg_size)
        if code > 0:
            self._prepared -= code
        elif code == 0:
            if self._prepared:
                self.recount()
        elif code in _TRY_AGAIN:
            if not self.reap():  # including those that were in _late
                time.sleep(RETRY_DELAY_S)
        elif code not in (-errno.ETIME, -errno.EINTR):
            self._refused(-code)

    def recount(self) -> None:
        """Set the count of submissions that the kernel has not taken yet (`_prepared`) to what the queue says.

        An exception, which a signal handler raises for example, may come after io_uring_enter(2) and before its result
        was subtracted from the count. With too high a count the kernel submits nothing, does not wait, and completes
        nothing.
        """
        self._prepared = self._sq_tail - self._words[self._sq_head_at] & 0xFFFF_FFFF

    def is_idle(self) -> bool:
        """True if `enter` and `reap` would do nothing now. Makes no system call."""
        return not (self._prepared or self._words[self._sq_flags_at] or self.waiting())

    def waiting(self) -> int:
        """Return the number of completions that `reap` would return now."""
        return len(self._late) + (self._words[self._cq_tail_at] - self._cq_head & 0xFFFF_FFFF)

    def reap(self) -> "deque[Completion]":
        """Move new completions from the queue to a list, behind those that are still in it, and return the list.

        The caller removes each from the list when it has handled it; the next call returns the others again.
        """
        head, tail = self._cq_head, self._words[self._cq_tail_at]
        if head == tail:
            return self._late
        fence = self._fence
        if fence is not None:
            fence()  # read the completions after the tail that published them
        first, last = (head & self._cq_mask) << 4, (tail & self._cq_mask) << 4
        if first < last:
            completions = list(abi.CQE.iter_unpack(self._cqes[first:last]))
        else:
            completions = [*abi.CQE.iter_unpack(self._cqes[first:]), *abi.CQE.iter_unpack(self._cqes[:last])]
        if fence is not None:
            fence()  # and before writing the head, which frees their slots
        # Without a call, so that no exception of another thread comes in between.
        self._late += completions
        self._cq_head = self._words[self._cq_head_at] = tail
        return self._late

    def enable(self) -> None:
        """Bind the ring to the calling thread."""
        if self._fd < 0:
            raise RuntimeError("this ring is closed, or was inherited through fork(): make a new one in each process")
        abi.register(self._fd, abi.REGISTER_ENABLE_RINGS, 0, 0)
        self._enabled = True

    def _refused(self, code: int) -> NoReturn:
        if code == errno.EEXIST:
            raise RuntimeError("this ring belongs to another thread: make one in each thread that needs one")
        raise OSError(code, os.strerror(code))

    def close_in_child(self) -> None:
        """Called in a forked child process: close the child's copy of the ring. The queues are shared memory, so
        whatever the child wrote there would reach the parent's ring.
        """
        if self._fd >= 0:
            self._release()

    def _release(self) -> None:
        """Unmap the memory and close the descriptor. Afterwards `put` finds the queue full, and `enter` raises."""
        os.close(self._fd)
        self._fd = -1
        self._enabled = False
        self._prepared = self._entries
        self._words.release()
        self._cqes.release()
        self._memory.close()
        self._sqes.close()


def _create(entries: int, flags: int) -> tuple[int, tuple[int, ...]]:
    params = bytearray(abi.PARAMS.pack(0, 4 * entries, flags, *[0] * 24))
    fd = abi.setup(entries, params)
    answer = abi.PARAMS.unpack(params)
    if answer[5] & _REQUIRED != _REQUIRED:
        os.close(fd)
        raise OSError(errno.EINVAL, "a feature is missing")
    return fd, answer


def _shared(fd: int, size: int, offset: int) -> mmap.mmap:
    return mmap.mmap(fd, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, offset=offset)


_inherited: weakref.WeakSet[Queues] = weakref.WeakSet()


def _close_in_child() -> None:
    for queues in _inherited:
        queues.close_in_child()


os.register_at_fork(after_in_child=_close_in_child)
