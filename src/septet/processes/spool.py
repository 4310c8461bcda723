"""What lies in temporary files, counted over all processes of a server: what `--limit-spool` is about.

Under poll, epoll and io_uring a WSGI application must not wait for its client. So a body larger than memory is for is
collected in a temporary file before the application's turn comes, and what a slow client does not take of an answer
waits in another one (see `_run_ahead`). A body that finds no room any more is answered 503; an answer waits.

As with `InFlight`, whose slots these are, each process counts in a slot that no other writes to while it lives, and the
slot is cleared when the process has ended, however that was.
"""

from mmap import mmap
from tempfile import SpooledTemporaryFile
from threading import RLock
from typing import TYPE_CHECKING

from septet import forked
from septet.exchange import ProtocolError
from septet.processes.resource_exhaustion import ResourceExhaustion

BODY_BYTES = 1 << 20
"""A body that is collected stays in memory up to this size and goes to a temporary file beyond it (nginx and waitress
do the same at 16 KiB and 512 KiB)."""

_HIGHEST = 0
"""Where the number of the highest slot stands."""


class Spool:
    """The bytes in temporary files; at most `limit` of them in all processes, or any number if that is 0."""

    def __init__(self, slots: int, limit: int = 0) -> None:
        self.limit = limit
        self._counts = memoryview(mmap(-1, 8 * slots)).cast("q")
        self._counts[_HIGHEST] = 1
        self._slot = 1
        self._lock = RLock()
        """Of this process, which share its slot. The end of a file may be noticed by the garbage collector in the midst
        of `take`."""
        self._exhaustion = ResourceExhaustion()
        forked.register(self)

    def close_in_child(self) -> None:
        """In a child that the application has forked: its copies of files are not the server's."""
        self._counts = memoryview(bytearray(16)).cast("q")
        self._slot = 1
        self._lock = RLock()

    def take(self, count: int) -> bool:
        """Count so many bytes that are about to be written; False if there is no room for them.

        Counted first and looked at then: two processes that reach the limit at the same instant may both be refused.
        """
        with self._lock:
            counts, slot = self._counts, self._slot
            counts[slot] += count
            fits = False
            try:
                fits = not self.limit or self.used <= self.limit
                return fits
            finally:
                if not fits:
                    counts[slot] -= count

    def give(self, count: int) -> None:
        """The file in which so many bytes were is closed."""
        with self._lock:
            self._counts[self._slot] -= count

    @property
    def used(self) -> int:
        return sum(self._counts[1 : self._counts[_HIGHEST] + 1])

    def report_full(self, what: str, meanwhile: str) -> None:
        """Log, once for each episode, what could not be done, and what becomes of it."""
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
    """A file for the body of a request."""

    def __init__(self, spool: Spool) -> None:
        super().__init__(BODY_BYTES)
        self._spool = spool
        self._length = self._taken = 0

    def write(self, part: bytes) -> int:  # type: ignore[override]
        """Raises ProtocolError (503) if there is no room; OSError."""
        self._length += len(part)
        if self._length > BODY_BYTES:
            more = self._length - self._taken
            if not self._spool.take(more):
                self._spool.report_full("cannot store the body of a request", "it is answered 503")
                raise ProtocolError(503, "too much is stored already")
            self._taken += more
        return super().write(part)

    def close(self) -> None:
        taken, self._taken = self._taken, 0
        try:
            super().close()
        finally:
            if taken:
                self._spool.give(taken)
