"""Keeps output that a slow client has not taken, so that the application's thread need not wait for the client.

A thread that waits for a slow client could not serve any other meanwhile. So output that the client does not take is
kept: first in memory; then, if the client is slow, in a temporary file, which costs no memory and is sent by
sendfile(2).
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
from septet.processes.resource_exhaustion import reason
from septet.processes.spool import Spool
from septet.protocol import ServerExchange

MEMORY_BYTES = 1 << 20
"""Most bytes of unsent output of one answer that are kept in memory. If there are more, and the client is slow
(SLOW_S), they are moved to a file.
"""

FILE_BYTES = 32 << 20
"""Most bytes that are written to one temporary file. When all that is in a full file has been sent, another
file may be begun.
"""

SLOW_S = 0.05
"""Seconds. When an answer has more than MEMORY_BYTES of unsent output, its client has this time to take some;
if it does not, it counts as slow, and the output is moved to a temporary file. Waiting for a client that needs
less time costs less than using a file.
"""


class _File(OwnedDescriptor):
    """A temporary file for output. `taken` is the number of bytes that it may fill; they are counted in `spool`,
    which keeps all files together below `--limit-spool`, until no object refers to the file any more.
    """

    __slots__ = ("_spool", "taken")

    def __init__(self, spool: Spool) -> None:
        super().__init__()
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
        """Most bytes that may be written to the temporary file. It becomes 0 when writing to the file has failed: then
        this answer uses no file any more.
        """
        self._spool_is_full = False
        """True if the temporary files of all answers and requests together have reached their limit (`--limit-spool`).
        Then no output of this answer is written to a file until at most MEMORY_BYTES of it are in memory.
        """
        self.slow = False
        """True if the client has not taken enough output, within SLOW_S seconds, to leave at most MEMORY_BYTES in
        memory. The caller sets it; only output for a slow client is written to a file.
        """

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
        """Move unsent output of the exchange from memory to the temporary file, if it is more than MEMORY_BYTES and
        the file may be written. Returns None if that was done or was not needed.

        If writing fails, the output stays in memory, no file is used for this answer any more, and the reason is
        returned. (It is returned as text: an exception refers to the frames that it has passed, so it would keep the
        file open.)
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
        except (OSError, MemoryError) as error:
            later.extend(pieces)
            self._file_limit = 0
            return reason(error)
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
            new = _File(self._spool)
            with tempfile.TemporaryFile() as file:
                new.number = os.dup(file.fileno())
            new.close_in_children()
            self._file = new
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
    """Keep an answer's unsent output within its limits: move it to a temporary file if more than MEMORY_BYTES is
    in memory and the client is slow; block while memory and file are full.

    `wait_for_room` is a function that blocks until some output was sent, or until the given number of seconds has
    passed (None: no time-out). Returns the reason if the file could not be written, else None. Raises ClientGone.
    Called by the application's thread, which holds the connection's lock.
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
