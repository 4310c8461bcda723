"""io_uring(7): the kernel does an operation and reports its completion.

epoll(7) and poll(2) report that a receive would succeed; the program then calls recv(2). io_uring takes the operation
itself. The program writes a *submission* into a queue in shared memory, the kernel carries it out, and writes a
*completion* (a token, a result or a negative errno, and flags) into a second queue. This module is the callback
interface over those queues: `_queues.py` has the memory and io_uring_enter(2), `_socket_operations.py` and
`_file_operations.py` prepare operations, and `Ring` maps tokens to callbacks. What follows is why it looks as it does.

**One system call for a round.** io_uring_enter(2) submits everything that was prepared and waits for completions. A
round of 100 connections costs one system call in place of 100. From Python that is the only gain for sockets: `recv`
is one call into C, while a completion costs 0.6 to 0.9 us of interpreter time. Submitting one receive for each request
is therefore no faster than recv(2).

**Multishot.** So an operation is submitted once and completes again and again: `receive_multishot` stays in the kernel
for the life of a connection. A completion whose flags have `MORE` will be followed by another one; without `MORE` the
operation has ended, and has to be prepared again if it is still wanted.

**Provided buffers.** A receive that stays in the kernel would occupy one buffer for each idle connection. Instead, all
receives of a ring share a pool (IORING_REGISTER_PBUF_RING): the kernel takes a buffer when data has arrived, and the
completion has its number. `call_back` copies the data and returns the buffer to the pool at once, so a slow callback
holds none. If the pool is empty, the receive ends with ENOBUFS; the data stay in the socket, and the receiver prepares
the receive again.

**Overflow.** One submission can complete without limit, so the completion queue can be full. The kernel then keeps
completions in a list of its own (IORING_FEAT_NODROP, required) and moves them to the queue with the next enter. None is
lost. `wait` calls back one queue's worth at most, so that other work of the loop has its turn; a loop may ask for fewer
(`at_once`).

**EAGAIN, EBUSY, ENOMEM.** io_uring_enter(2) can fail for want of memory, or because completions have to be collected
first. Nothing that was prepared is lost: `enter` collects what is complete (or waits 1 ms if nothing is), and returns;
what was not submitted goes with the next enter.

**No memory barriers, usually.** On processors that reorder memory accesses, queues shared with another CPU need
barriers, which Python does not offer. IORING_SETUP_DEFER_TASKRUN avoids the need: the kernel writes completions only
while our thread is inside io_uring_enter(2), and the system call orders memory. That flag and multishot receive make
Linux 6.1 the oldest kernel that is accepted.

**Shared rings.** DEFER_TASKRUN binds a ring to one thread. The server's io_uring model passes its loop from thread to
thread, and makes its ring with `shared=True`: the kernel then completes operations at any time, and a `Fence` (a lock
released and acquired again) separates entries from the indices that publish them. See `shared` below for the price.

**Memory in use.** The kernel reads and writes paths, buffers and structures until the completion, even if the caller
has lost interest. `_pinned` refers to them by token until then. Cancelling is an operation as well: a cancelled
operation still has a completion to come (-ECANCELED, or its result if it was faster).

**Fork.** The queues are MAP_SHARED, so an entry that a child writes reaches the parent's ring. After fork() the child's
copy is closed, and using it raises RuntimeError.

**No SQPOLL.** A kernel thread that polls the submission queue would save the system call and occupy a CPU. libuv,
which had one, has made it an option that is off.

The binding is `ctypes`, `mmap` and `struct`; nothing is compiled.
"""

import errno
import os
import socket
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Self

from septet.pollers import _uring_abi as abi
from septet.pollers._file_operations import Callback, FileOperations
from septet.pollers._interruption import kept_from_beginning
from septet.pollers._queues import Completion, Queues
from septet.pollers._socket_operations import ProvidedBuffers, SocketOperations
from septet.pollers._unavailable import RingUnavailable, unavailable

__all__ = ["MORE", "Callback", "Report", "Ring", "RingUnavailable", "obstacle"]

Report = Callable[[BaseException, Callback], object]
"""`report(exception, callback)` is called with an exception that a callback has raised."""

MORE = abi.CQE_MORE
"""A flag of completions: the operation is still in the kernel and will complete again."""

_OPERATIONS = (
    abi.OP_POLL_ADD,
    abi.OP_ACCEPT,
    abi.OP_ASYNC_CANCEL,
    abi.OP_RECV,
    abi.OP_FSYNC,
    abi.OP_OPENAT2,
    abi.OP_STATX,
    abi.OP_READ,
    abi.OP_WRITE,
)
_CLOSE_TIMEOUT_S = 1.0
"""Longest time for which close() waits for cancelled operations; only file operations that have begun take long."""


class Ring(SocketOperations, FileOperations, Queues):
    """One io_uring: methods prepare operations, `wait` submits them and calls back for each completion.

    Each preparing method returns a token, which is never reused and by which the operation can be cancelled. The
    kernel sees nothing before `wait` or `flush`. Buffers are kept alive until their completion.

    The ring belongs to the thread that waits first; a `shared` one to any thread, one at a time. In a forked child it
    is closed, and using it raises RuntimeError.
    The kernel keeps a descriptor open while operations use it, also after close(2): cancel them first.

    Args:
        entries: size of the submission queue. If more operations are prepared, the first ones are submitted early. The
            completion queue has four times as many entries; the kernel keeps what does not fit (IORING_FEAT_NODROP).
        buffers: number of provided buffers, a power of 2; allocated with the first receive.
        buffer_size: bytes in each, which is the most that one completion of a receive brings.
        shared: several threads use the ring, never two at once. A thread must not end before the operations that it has
            submitted: the kernel would cancel them. While that thread is in no system call, their completions can be
            late by one tick of the kernel's clock (1 to 10 ms).
        report: called with an exception that a callback has raised. Without it, `wait` raises the exception, and
            the remaining completions are called back by the next `wait`. `wait` always raises SystemExit and
            KeyboardInterrupt.

    Raises:
        RingUnavailable: an OSError; its text says why io_uring cannot be used here and what to do.
    """

    def __init__(
        self,
        entries: int = 1024,
        *,
        buffers: int = 512,
        buffer_size: int = 4096,
        shared: bool = False,
        report: Report | None = None,
    ) -> None:
        self.report = report
        self.interrupted: Callable[[Callback], None] | None = None
        """A function that is called with each callback that an exception has ended; it is called before `report`.
        None: nothing is called.

        The exception may be one that another thread has raised in this one.
        """
        self.at_once = range(1 << 32)
        """Counts the completions for which `call_back` calls back at most. A loop that wants short turns sets it."""
        self._buffer_shape = (buffers, buffer_size)
        self._buffers: ProvidedBuffers | None = None
        self._callbacks: dict[int, Callback] = {}
        self._pinned: dict[int, object] = {}
        self._accepts: set[int] = set()
        self._token = 0
        super().__init__(entries, shared)

    # -- operations

    def poll_add(self, fd: int, mask: int, callback: Callback, *, multishot: bool = False) -> int:
        """Prepare an operation that completes when `fd` is ready for one of the events in `mask`, and return its
        token. The result that `callback` gets has the bits that are set.

        POLLERR, POLLHUP, POLLNVAL and POLLRDHUP are reported whether asked for or not. With `multishot` the operation
        completes once if `fd` is ready now, and then at each event (edge-triggered).
        """
        return self._prepare(callback, abi.OP_POLL_ADD, fd, length=int(multishot), op_flags=mask)

    def cancel(self, token: int, callback: Callback | None = None) -> int:
        """Cancel an operation, which then completes with -ECANCELED unless it was complete already.

        Data that a receive had taken before is still delivered. The result that `callback` gets, if it is given, is 0,
        -ENOENT (the operation is complete already) or -EALREADY (it has begun and cannot be stopped).
        """
        return self._cancel(callback, -1, token, 0)

    def cancel_fd(self, fd: int, callback: Callback | None = None) -> int:
        """Cancel every operation on a descriptor; to be called before it is closed.

        The result that `callback` gets is the number of operations cancelled, or -errno.
        """
        return self._cancel(callback, fd, 0, abi.CANCEL_FD | abi.CANCEL_ALL)

    def _cancel(self, callback: Callback | None, fd: int, token: int, how: int) -> int:
        # Without a callback, the kernel need not report a success.
        sqe_flags = abi.SQE_CQE_SKIP_SUCCESS if callback is None else 0
        return self._prepare(callback, abi.OP_ASYNC_CANCEL, fd, token, op_flags=how, sqe_flags=sqe_flags)

    def _prepare(
        self,
        callback: Callback | None,
        opcode: int,
        fd: int,
        addr: int = 0,
        length: int = 0,
        op_flags: int = 0,
        ioprio: int = 0,
        sqe_flags: int = 0,
        group: int = 0,
        offset: int = 0,
    ) -> int:
        self._token = token = self._token + 1
        self.put(token, opcode, fd, addr, length, op_flags, ioprio, sqe_flags, group, offset)
        if callback is not None:
            self._callbacks[token] = callback
        return token

    # -- submission and completion

    def wait(self, timeout_s: float | None = None) -> None:
        """Submit what is prepared, wait for a completion, and call back for those that have come.

        Waits at most `timeout_s` seconds (None: no limit, 0: does not wait); a signal ends the wait. Calls back for at
        most one completion queue's worth, or `at_once`, in their order, so that a flood of completions does not hold up
        the caller; if some are left, the next call does not wait. Must not be called from a callback.

        Raises:
            RuntimeError: the ring is closed, or it belongs to another thread or process.
            OSError: io_uring_enter(2) failed.
        """
        self.enter(timeout_s)
        self.call_back()

    def call_back(self) -> None:
        """The second half of `wait`, to be called after `enter`: call the callbacks of completed operations."""
        callbacks, kept, buffers = self._callbacks, self._pinned, self._buffers
        complete = self.reap()
        for _ in self.at_once[: len(complete)]:
            token, res, flags = complete[0]
            del complete[0]
            callback, begun, data = None, False, None
            try:
                callback = callbacks.get(token)
                if not flags & MORE:
                    callbacks.pop(token, None)
                    if kept:
                        kept.pop(token, None)
                if flags & abi.CQE_BUFFER and buffers is not None:
                    try:
                        data = buffers.take(flags >> 16, res)
                    except MemoryError:
                        buffers.give_back(flags >> 16)
                        res, data = -errno.ENOMEM, b""  # as if the kernel had lacked memory
                else:
                    data = b""
                if callback is not None:  # else a cancel that failed, and has no callback
                    begun = True
                    callback(res, flags, data)
            except BaseException as exc:
                if begun and not kept_from_beginning(callback, exc):
                    self._failed(exc, callback)
                else:
                    self._call_back_late((token, res, flags), callback or callbacks.get(token), data, exc)

    def _call_back_late(
        self, complete: Completion, callback: Callback | None, data: bytes | None, exc: BaseException
    ) -> None:
        """Called when `exc`, raised by a signal handler, has kept `callback` from beginning: call it now, because the
        kernel reports each completion only once. Then report `exc`, or raise it. `data` is what was received; None: it
        is still in its buffer.
        """
        try:
            token, res, flags = complete
            if not flags & MORE:
                self._callbacks.pop(token, None)
                self._pinned.pop(token, None)
            try:
                if data is None:
                    buffers = self._buffers if flags & abi.CQE_BUFFER else None
                    data = b"" if buffers is None else buffers.take(flags >> 16, res)
                if callback is not None:
                    callback(res, flags, data)
            except BaseException as failure:
                self._failed(failure, callback)
            self._report_or_raise(exc, callback)
        finally:
            del exc  # as in `_report_or_raise`

    def flush(self) -> None:
        """Submit what is prepared, without waiting. Its completions are called back by the next `wait`."""
        self.enter(0)

    def has(self, token: int) -> bool:
        """True if the operation, which must have a callback, is not complete yet."""
        return token in self._callbacks

    def _failed(self, exc: BaseException, callback: Callback | None) -> None:
        """Handle an exception that a callback has raised: call `interrupted`, then pass it to `report`. Without
        `report`, without a callback, and for SystemExit and KeyboardInterrupt, raise it instead.
        """
        try:
            if self.interrupted is not None and callback is not None:
                self.interrupted(callback)
            self._report_or_raise(exc, callback)
        finally:
            del exc  # as in `_report_or_raise`

    def _report_or_raise(self, exc: BaseException, callback: Callback | None) -> None:
        if self.report is None or callback is None or isinstance(exc, SystemExit | KeyboardInterrupt):
            try:
                raise exc
            finally:
                del exc  # whose traceback refers to this frame, and to what it has interrupted
        self.report(exc, callback)

    def _provide_buffers(self) -> ProvidedBuffers:
        count, size = self._buffer_shape
        self._buffers = ProvidedBuffers(self._fd, 0, count, size, self._fence)
        return self._buffers

    # -- the end

    def close(self) -> None:
        """Cancel all operations and release the ring; no callback runs any more. Takes up to one second."""
        if self._fd < 0:
            return
        if self._enabled:  # otherwise nothing was ever submitted
            try:
                self._cancel_all()
            except RuntimeError:
                pass  # the ring of another thread: the kernel cancels a little after the descriptor is closed
        self._release()

    def _cancel_all(self) -> None:
        """Cancel all operations, and wait until the kernel uses no buffer and no descriptor any more, or
        _CLOSE_TIMEOUT_S has passed.
        """
        self._cancel(None, -1, 0, abi.CANCEL_ANY | abi.CANCEL_ALL)
        deadline = time.monotonic() + _CLOSE_TIMEOUT_S
        self.enter(0)
        while True:
            complete = self.reap()
            while complete:
                token, res, flags = complete.popleft()
                if token in self._accepts and res >= 0:
                    os.close(res)  # accepted, and no callback will take it
                if not flags & MORE:
                    self._callbacks.pop(token, None)
            if not self._callbacks or time.monotonic() >= deadline:
                return
            self.enter(_CLOSE_TIMEOUT_S)

    def _release(self) -> None:
        super()._release()
        if self._buffers is not None:
            self._buffers.close()

    def __del__(self) -> None:
        if self._fd >= 0:
            self._release()
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def obstacle() -> str | None:
    """Try io_uring on this machine. Returns None if it works, else one sentence with the reason and the remedy.

    Makes a small ring, checks that the kernel has the operations that Septet uses (IORING_REGISTER_PROBE), and receives
    once through it: a kernel or a filter may permit the one and not the other.
    """
    try:
        with Ring(8, buffers=2, buffer_size=64) as ring:
            _probe(ring)
            return None
    except RingUnavailable as exc:
        return str(exc)


def _probe(ring: Ring) -> None:
    """Raise RingUnavailable unless the kernel knows every operation, and a multishot receive works."""
    probe = bytearray(16 + 256 * 8)  # struct io_uring_probe and 256 struct io_uring_probe_op
    received: list[bytes] = []
    try:
        ring.enable()
        abi.register(ring._fd, abi.REGISTER_PROBE, abi.address(probe), 256)
        if not all(probe[16 + 8 * opcode + 2] & 1 for opcode in _OPERATIONS):  # IO_URING_OP_SUPPORTED
            raise OSError(errno.EOPNOTSUPP, "an operation is missing")
        here, there = socket.socketpair()
        with here, there:
            ring.receive_multishot(here.fileno(), lambda res, flags, data: received.append(data))
            there.send(b"?")
            ring.wait(1.0)
    except OSError as exc:
        raise unavailable(exc.errno or 0) from exc
    if received != [b"?"]:
        raise unavailable(errno.EOPNOTSUPP)
