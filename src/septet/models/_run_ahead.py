"""Keeps output that a slow client has not taken, so that the application's thread need not wait for the client.

Threads that waited for slow clients would be missing for all others. So output that the client does not take is kept:
first in memory; then, if the client is slow, in a temporary file, which costs no memory and is sent by sendfile(2).
When the file has grown to FILE_BYTES, or all files together to `--limit-spool`, the application waits, for as long as
`--write-timeout` allows. waitress and nginx do the same (nginx: 64 KiB and 1 GiB, by proxy_buffers and
proxy_max_temp_file_size).
"""

import os
import tempfile
from collections.abc import Callable
from time import monotonic

from septet.apps._files import OwnedDescriptor
from septet.exchange import ClientGone, FileRegion
from septet.processes.spool import Spool
from septet.protocol import ServerExchange

MEMORY_BYTES = 1 << 20
"""Most bytes of unsent output of one answer in memory; more is moved to a file."""

FILE_BYTES = 32 << 20
"""Most bytes that are written to one temporary file; when all of it is sent, another file may be begun."""

SLOW_S = 0.05
"""Seconds. A client that has not made room in memory within this time after the limit was reached counts as slow, and
its output is moved to a temporary file. A shorter wait for the client costs less than a file.
"""


class _File(OwnedDescriptor):
    """A temporary file. Its `taken` bytes are counted in `spool` (`--limit-spool`) until nothing refers to the file any
    more.
    """

    __slots__ = ("_spool", "taken")

    def __init__(self, number: int, spool: Spool) -> None:
        super().__init__()
        self.number = number
        self._spool = spool
        self.taken = 0

    def __del__(self) -> None:
        super().__del__()
        self._spool.give(self.taken)


class RunAhead:
    """Keeps the output of one answer that its client has not taken. Each method is called while no other thread uses
    the exchange."""

    __slots__ = ("_file", "_file_limit", "_spool", "_spool_is_full", "_written", "slow")

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._file: _File | None = None
        self._written = 0
        """Offset in bytes at which the file is written next."""
        self._file_limit = FILE_BYTES
        """Most bytes in the file; 0 after writing has failed: this answer uses no file any more."""
        self._spool_is_full = False
        """True if the temporary files of all answers and requests together are at their limit (`--limit-spool`): no
        file is written until memory is below MEMORY_BYTES again.
        """
        self.slow = False
        """True if the client has not made room in memory within SLOW_S; the caller sets it."""

    def is_full(self, exchange: ServerExchange) -> bool:
        """True if the application has to wait until the client has taken some output."""
        return exchange.in_memory > MEMORY_BYTES and not self._may_write_to_file(exchange)

    def _may_write_to_file(self, exchange: ServerExchange) -> bool:
        """True if output in memory may be written to a file: the client is slow, and no limit is reached.

        A file that is full is dropped when all of it is sent, and another one is begun. The same file is not written
        again from its beginning: data sent by sendfile(2) are in the socket as pages of the file, not as a copy.
        """
        if (self._spool_is_full or self._written >= self._file_limit) and self._file and not self._is_in_file(exchange):
            self._file = None
            self._written = 0
        return self.slow and not self._spool_is_full and self._written < self._file_limit

    def move_to_file(self, exchange: ServerExchange) -> str | None:
        """Move unsent output from memory to the file, if it is more than MEMORY_BYTES and the file may be written.
        Returns None, also if nothing was moved.

        If writing fails, returns the reason, and no file is used for this answer any more. (The reason is text and not
        the exception, whose traceback refers to the caller's frame: the caller and our file would be in a reference
        cycle.)
        """
        later = exchange.later
        if exchange.in_memory <= MEMORY_BYTES:
            self._spool_is_full = False
            return None
        if not self._may_write_to_file(exchange):
            return None
        pieces: list[bytes | bytearray] = []
        while later and not isinstance(later[-1], FileRegion):
            pieces.append(later.pop())  # type: ignore[arg-type]
        if later is None or not pieces:
            return None
        pieces.reverse()
        try:
            region = self._write(b"".join(pieces))
        except OSError as error:
            later.extend(pieces)
            self._file_limit = 0
            return error.strerror or str(error)
        if region is None:
            later.extend(pieces)
            self._spool_is_full = True
        else:
            later.append(region)
        return None

    def _write(self, data: bytes) -> FileRegion | None:
        """Append `data` to the file and return the region that it takes; None if all files together are at their limit.
        Raises OSError."""
        if self._file is None:
            with tempfile.TemporaryFile() as file:
                self._file = _File(os.dup(file.fileno()), self._spool)
        more = self._written + len(data) - self._file.taken
        if more > 0:
            if not self._spool.take(more):
                self._spool.report_full("cannot keep an answer for a slow client", "the application waits for it")
                return None
            self._file.taken += more
        start, rest = self._written, memoryview(data)
        while rest:
            count = os.pwrite(self._file.number, rest, self._written)
            self._written += count
            rest = rest[count:]
        return FileRegion(self._file.number, start, len(data), owner=self._file)

    def _is_in_file(self, exchange: ServerExchange) -> bool:
        regions = (item for item in (exchange.file, *(exchange.later or ())) if isinstance(item, FileRegion))
        return self._file is not None and any(region.owner is self._file for region in regions)


def hold_back(ahead: RunAhead, exchange: ServerExchange, wait_for_room: Callable[[float | None], None]) -> str | None:
    """Move unsent output from memory to a temporary file if it is too much; block while memory and file are full.

    `wait_for_room`: a function that blocks until some output was sent, or until this many seconds have passed (None: no
    time-out). Returns why no file can be written, or None. Raises ClientGone. For the application's thread, which holds
    the lock of the connection.
    """
    until = monotonic() + SLOW_S
    while ahead.is_full(exchange):
        if ahead.slow:
            wait_for_room(None)
        elif (left_s := until - monotonic()) > 0:
            wait_for_room(left_s)
        else:
            ahead.slow = True
    if exchange.lost:
        raise ClientGone("the client went away, or read too slowly")
    return ahead.move_to_file(exchange)
