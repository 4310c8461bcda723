"""Bytes in temporary files, counted over all processes of a server, for `--limit-spool`.

Under poll, epoll and io_uring a WSGI application must not wait for its client. So a request's body larger than
BODY_BYTES is collected in a temporary file before the application is called, and the part of an answer that a slow
client does not take is kept in another file (see `models._run_ahead`). At the limit a request is answered 503; an
application that gives more output has to wait until the client has taken some.

As in `InFlight`, which gives out the slots, each process counts in a slot of shared memory that no other process writes
to while it lives. The slot is cleared when the process has ended, by a crash as well.
"""

import os
from mmap import mmap
from tempfile import SpooledTemporaryFile
from threading import RLock
from typing import TYPE_CHECKING

from septet import forked
from septet.exchange import ProtocolError
from septet.processes.resource_exhaustion import ResourceExhaustion

BODY_BYTES = 1 << 20
"""Bytes. A body that is collected stays in memory up to this size and goes to a temporary file beyond it (nginx and
waitress do the same at 16 KiB and 512 KiB)."""

_HIGHEST = 0
"""Index of the element of the shared array that holds the highest slot number ever given out. Counts are summed up over
slots 1 to that number.
"""


class Spool:
    """Counts the bytes that the processes of a server have in temporary files, in an array of shared memory. slots:
    length of the array, in which each process has one element, its slot. limit: most bytes in all processes together;
    0: no limit. Any thread may use it.
    """

    def __init__(self, slots: int, limit: int = 0) -> None:
        self.limit = limit
        self._counts = memoryview(mmap(-1, 8 * slots)).cast("q")
        self._counts[_HIGHEST] = 1
        self._slot = 1
        self._lock = RLock()
        """Keeps two threads of this process from changing the count in its slot at the same time. Reentrant, because
        the garbage collector may close a file, which calls `give`, during `take`.
        """
        self._exhaustion = ResourceExhaustion()
        forked.register(self)

    def close_in_child(self) -> None:
        """Called in a child that the application has forked. The child counts in memory of its own from then on, so
        that its files do not change what the server has counted.
        """
        self._counts = memoryview(bytearray(16)).cast("q")
        self._slot = 1
        self._lock = RLock()

    def take(self, count: int) -> bool:
        """Count `count` bytes that are about to be written to a temporary file, and return True. Return False, and
        count nothing, if the limit would be exceeded.

        The bytes are counted before the sum over all processes is compared with the limit, so of two processes that
        reach it at the same instant both may be refused.
        """
        taken = False
        try:
            with self._lock:
                counts, slot = self._counts, self._slot
                counts[slot] += count
                taken = True
                if not self.limit or self.used <= self.limit:
                    return True
                counts[slot] -= count
                taken = False
                return False
        except BaseException:  # of another thread or of a signal handler: nothing is counted, as in `InFlight.enter`
            if taken:
                with self._lock:
                    counts[slot] -= count
            raise

    def give(self, count: int) -> None:
        """Count `count` bytes less: a file for which they were taken is closed. They are still counted if it raises."""
        given = False
        try:
            with self._lock:
                self._counts[self._slot] -= count
                given = True
        except BaseException:
            if given:
                with self._lock:
                    self._counts[self._slot] += count
            raise

    @property
    def used(self) -> int:
        """Bytes in temporary files, in all processes together."""
        return sum(self._counts[1 : self._counts[_HIGHEST] + 1])

    def report_full(self, what: str, meanwhile: str) -> None:
        """Log that the limit is reached, unless that was reported less than EPISODE_S ago
        (`ResourceExhaustion.report`). what: what cannot be done. meanwhile: the consequence for clients.
        """
        self._exhaustion.report(
            f"{what}: there are {self.limit} bytes in temporary files, see --limit-spool", meanwhile
        )

    # For `InFlight`, which gives out the slots

    def extend(self, highest: int) -> None:
        self._counts[_HIGHEST] = highest

    def occupy(self, slot: int) -> None:
        self._slot = slot

    def vacate(self, slot: int) -> None:
        self._counts[slot] = 0


if TYPE_CHECKING:
    _File = SpooledTemporaryFile[bytes]
else:
    _File = SpooledTemporaryFile


class Body(_File):
    """A file for the body of a request: in memory up to BODY_BYTES, then on disk, where `spool` counts it."""

    def __init__(self, spool: Spool) -> None:
        super().__init__(BODY_BYTES)
        self._spool = spool
        self._length = self._taken = 0
        self._registered = False
        """True once the file is on the disk, and a child that the application forks lets go of it."""

    def write(self, part: bytes) -> int:  # type: ignore[override]
        """Append a part of the body, and return the length of the part. Raises ProtocolError(503) if `--limit-spool`,
        the most bytes in temporary files, is reached, and OSError if the disk is full.
        """
        self._length += len(part)
        if self._length > BODY_BYTES:
            more = self._length - self._taken
            if not self._spool.take(more):
                self._spool.report_full("cannot store the body of a request", "it is answered 503")
                raise ProtocolError(503, "too much is stored already")
            self._taken += more
        written = super().write(part)
        if self._taken and not self._registered:
            self._registered = True
            forked.register(self)
        return written

    def seek(self, *place: int) -> int:
        """As of any file. Called at first when the whole body has come: from then on the body is the application's, and
        its children may read it.
        """
        forked.unregister(self)
        return super().seek(*place)

    def close_in_child(self) -> None:
        """Called in a child that the application has forked while the body is still coming: let go of the file on the
        disk. Its number is made one of /dev/null, because what the file object has yet to write must not go elsewhere.
        """
        if not self.closed:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(null, self.fileno(), inheritable=False)
            os.close(null)

    def close(self) -> None:
        taken, self._taken = self._taken, 0
        try:
            super().close()
        finally:
            if taken:
                self._spool.give(taken)
