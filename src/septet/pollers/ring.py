"""io_uring(7): operations are handed to the kernel in a shared queue, and come back completed in another.

epoll tells when a receive *would* succeed; io_uring receives. One io_uring_enter(2) submits everything
that was prepared and collects everything that is done, and a *multishot* accept or receive stays in
the kernel and completes again and again without being asked. That is what makes it pay: a receive
for each request, one by one, costs as much as recv(2).

The binding is `ctypes`, `mmap` and `struct` and nothing compiled. It is sound without memory barriers because
of IORING_SETUP_DEFER_TASKRUN: the kernel touches the queues only while our thread is inside enter. (A ring that threads
use by turns cannot have that, and needs the barriers: see `shared`.) That, and multishot receive, make Linux 6.1 the
oldest kernel it accepts. There is no kernel thread that polls
(SQPOLL): it burns a processor, and others that used one came to regret it.
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
from septet.pollers._provided import ProvidedBuffers
from septet.pollers._queues import Queues
from septet.pollers._socket_operations import SocketOperations
from septet.pollers._unavailable import RingUnavailable, unavailable

__all__ = ["MORE", "NOTIFICATION", "Callback", "Report", "Ring", "RingUnavailable", "obstacle"]

Report = Callable[[BaseException, Callback], object]

MORE = abi.CQE_MORE
NOTIFICATION = abi.CQE_NOTIFICATION

_OPERATIONS = (
    abi.OP_NOP,
    abi.OP_POLL_ADD,
    abi.OP_TIMEOUT,
    abi.OP_ACCEPT,
    abi.OP_ASYNC_CANCEL,
    abi.OP_SEND,
    abi.OP_RECV,
    abi.OP_FSYNC,
    abi.OP_LINK_TIMEOUT,
    abi.OP_OPENAT2,
    abi.OP_CLOSE,
    abi.OP_STATX,
    abi.OP_READ,
    abi.OP_WRITE,
    abi.OP_SPLICE,
    abi.OP_SEND_ZC,
)
_CLOSE_S = 1.0  # for cancelled requests to finish; only a file operation that has begun takes any time


class Ring(SocketOperations, FileOperations, Queues):
    """One io_uring: methods prepare operations, `wait` submits them and calls back what is done.

    A preparing method returns a token, never used twice, by which the operation can be cancelled. Nothing
    happens until `wait` or `flush`. Buffers are kept alive until their completion.

    It belongs to the thread that first waits, or if it is `shared` to any thread in its turn. In a forked child it is
    closed: there it raises RuntimeError.
    A descriptor with operations in flight stays open in the kernel after close(2): cancel them first.

    Args:
        entries: operations that are prepared before they are submitted early; the completion queue holds
            four times as many, and the kernel keeps what does not fit (IORING_FEAT_NODROP).
        buffers: number of buffers that all receives share, a power of 2; allocated with the first receive.
        buffer_size: bytes of each, and so the most that one receive completion brings.
        shared: several threads use it, one after the other: never two at once. A thread that has submitted something
            must not end before it is complete, for the kernel cancels what a thread leaves behind; and while it is in
            no system call, completions of what it has submitted may be late by a tick of the kernel's clock.
        report: is told of an exception in a callback. Without it, the exception comes out of `wait`, and
            what has not been called back yet is with the next one. SystemExit and KeyboardInterrupt do so always.

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
        """Told, before that, which callback has not been called, or not to its end: also for exceptions that another
        thread has raised in this one."""
        self._buffer_shape = (buffers, buffer_size)
        self._buffers: ProvidedBuffers | None = None
        self._callbacks: dict[int, Callback] = {}
        self._kept: dict[int, object] = {}
        self._accepts: set[int] = set()
        self._token = 0
        super().__init__(entries, shared)

    # -- operations

    def nop(self, callback: Callback) -> int:
        """Do nothing, and complete."""
        return self._prepare(callback, abi.OP_NOP, -1)

    def poll_add(self, fd: int, mask: int, callback: Callback, *, multishot: bool = False) -> int:
        """Complete when `fd` is ready for `mask`; `res` has the bits that are set.

        Beside the bits of poll(2) that come unasked, POLLRDHUP does. A multishot completes once if `fd` is ready now,
        and then whenever something happens to it (edge-triggered).
        """
        return self._prepare(callback, abi.OP_POLL_ADD, fd, length=int(multishot), op_flags=mask)

    def timeout(self, seconds: float, callback: Callback) -> int:
        """Complete with -ETIME after so many seconds (a kernel timer: no rounding to milliseconds)."""
        timespec = bytearray(abi.TIMESPEC.pack(*abi.timespec(seconds)))
        token = self._prepare(callback, abi.OP_TIMEOUT, -1, abi.address(timespec), 1)
        self._kept[token] = timespec
        return token

    def limit(self, seconds: float, callback: Callback | None = None) -> int:
        """Give the operation that was prepared last so long; then it is cancelled (IORING_OP_LINK_TIMEOUT).

        `callback`, if given, is told -ETIME if it came to that, and -ECANCELED if not.

        Raises:
            RuntimeError: nothing is prepared, or no room is left to submit both together.
        """
        if not 0 < self._prepared < self._entries:
            raise RuntimeError("only an operation that was just prepared can be limited")
        self._sqes[self._last_at() + 1] |= abi.SQE_IO_LINK  # the flags, the second byte
        timespec = bytearray(abi.TIMESPEC.pack(*abi.timespec(seconds)))
        token = self._prepare(callback or _ignore, abi.OP_LINK_TIMEOUT, -1, abi.address(timespec), 1)
        self._kept[token] = timespec
        return token

    def cancel(self, token: int, callback: Callback | None = None) -> int:
        """Cancel an operation, which then completes with -ECANCELED unless it was done already.

        Data that a receive had taken by then is still delivered. `callback`, if given, is told 0, -ENOENT (there is
        no such operation any more) or -EALREADY (too late to stop it).
        """
        return self._cancel(callback, -1, token, 0)

    def cancel_fd(self, fd: int, callback: Callback | None = None) -> int:
        """Cancel every operation on a descriptor, as is due before it is closed; `res` is their number."""
        return self._cancel(callback, fd, 0, abi.CANCEL_FD | abi.CANCEL_ALL)

    def _cancel(self, callback: Callback | None, fd: int, token: int, how: int) -> int:
        # Nobody wants to know: then the kernel need not tell of a success.
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
        """Submit what is prepared, wait for a completion, and call back all there are.

        Waits at most `timeout_s` seconds (None: without limit, 0: not at all); a signal ends it early. Calls back
        at most one completion queue's worth, so that no flood keeps others waiting. Not to be called
        from a callback.
        """
        self.enter(timeout_s)
        self.call_back()

    def call_back(self) -> None:
        """The second half of `wait`, after `enter`: call back what is complete."""
        callbacks, kept, buffers = self._callbacks, self._kept, self._buffers
        complete = self.harvest()
        for _ in range(len(complete)):
            token, res, flags = complete[0]
            del complete[0]
            callback = None
            try:
                callback = callbacks.get(token)
                if not flags & MORE:
                    callbacks.pop(token, None)
                    if kept:
                        kept.pop(token, None)
                data = b""
                if flags & abi.CQE_BUFFER and buffers is not None:
                    try:
                        data = buffers.take(flags >> 16, res)
                    except MemoryError:
                        buffers.give_back(flags >> 16)
                        res = -errno.ENOMEM  # to the receiver as if the kernel had had none
                if callback is not None:  # else a cancel that failed, which nobody wanted to know
                    callback(res, flags, data)
            except BaseException as exc:
                self._failed(exc, callback or callbacks.get(token))

    def in_flight(self) -> int:
        """How many operations have a completion to come."""
        return len(self._callbacks)

    def flush(self) -> None:
        """Submit what is prepared, at once and without waiting; completions are left to the next `wait`."""
        self.enter(0)

    def has(self, token: int) -> bool:
        """Whether the operation has a completion to come."""
        return token in self._callbacks

    def _failed(self, exc: BaseException, callback: Callback | None) -> None:
        """Report the exception, or raise it."""
        if self.interrupted is not None and callback is not None:
            self.interrupted(callback)
        if self.report is None or callback is None or isinstance(exc, SystemExit | KeyboardInterrupt):
            raise exc
        self.report(exc, callback)

    def _provide_buffers(self) -> ProvidedBuffers:
        count, size = self._buffer_shape
        self._buffers = ProvidedBuffers(self._fd, 0, count, size, self._fence)
        return self._buffers

    # -- the end

    def close(self) -> None:
        """Cancel what is in flight and give everything back; nothing is called back any more."""
        if self._fd < 0:
            return
        if self._enabled:  # else nothing was ever submitted
            try:
                self._cancel_all()
            except RuntimeError:
                pass  # another thread's ring: the kernel cancels when the descriptor is closed, a little later
        self._release()

    def _cancel_all(self) -> None:
        """Return when the kernel has let go of every request, and so of every buffer and descriptor."""
        self._cancel(None, -1, 0, abi.CANCEL_ANY | abi.CANCEL_ALL)
        deadline = time.monotonic() + _CLOSE_S
        self.enter(0)
        while True:
            complete = self.harvest()
            while complete:
                token, res, flags = complete.popleft()
                if token in self._accepts and res >= 0:
                    os.close(res)  # accepted, but nobody is there to take it
                if not flags & MORE:
                    self._callbacks.pop(token, None)
            if not self._callbacks or time.monotonic() >= deadline:
                return
            self.enter(_CLOSE_S)

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


def _ignore(res: int, flags: int, data: bytes) -> None:
    """Nobody wants to know, but the buffer must be kept until the completion."""


def obstacle() -> str | None:
    """Why io_uring cannot be used here, as one sentence with the cure; None if it can.

    It makes a small ring, asks it for the operations that Septet uses (IORING_REGISTER_PROBE), and receives
    through it once, for a kernel or a filter may permit one and not the other.
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
