"""How far an application may run ahead of a client that reads slowly, and where what it has said waits meanwhile.

A thread that had to wait for every slow client would soon be missed by the others. So what the client does not take
is kept: first in memory; then, if the client is really slow, in a temporary file, which costs no memory and goes out by
sendfile(2); and when that has grown to its bound, or all files together to `--limit-spool`, the application waits, as
long as `--write-timeout` allows. waitress and nginx do the same (nginx: 64 KiB and 1 GiB, by proxy_buffers and
proxy_max_temp_file_size).
"""

import os
import tempfile

from septet.apps._files import OwnedDescriptor
from septet.exchange import FileRegion
from septet.processes.spool import Spool
from septet.protocol import ServerExchange

MEMORY_BYTES = 1 << 20
"""What waits in memory before anything is done about it."""

FILE_BYTES = 32 << 20
"""The temporary file of one answer at most; when all of it has gone, another one may be begun."""

SLOW_S = 0.05
"""A client that has not made room in memory within this time is slow: a file costs more than so short a wait."""


class _File(OwnedDescriptor):
    """A temporary file, counted until nothing refers to it any more."""

    __slots__ = ("_spool", "taken")

    def __init__(self, number: int, spool: Spool) -> None:
        super().__init__(number)
        self._spool = spool
        self.taken = 0

    def __del__(self) -> None:
        super().__del__()
        self._spool.give(self.taken)


class RunAhead:
    """What one answer keeps for its client. Each method is called while nothing else touches the exchange."""

    __slots__ = ("_file", "_file_limit", "_spool", "_spool_is_full", "_written", "slow")

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._file: _File | None = None
        self._written = 0
        """Where the file is written next."""
        self._file_limit = FILE_BYTES
        self._spool_is_full = False
        """All files together are at their limit: memory must do until it is empty enough."""
        self.slow = False

    def is_full(self, exchange: ServerExchange) -> bool:
        """The application has to wait until the client has taken some of it."""
        return exchange.in_memory > MEMORY_BYTES and not self._may_write_to_file(exchange)

    def _may_write_to_file(self, exchange: ServerExchange) -> bool:
        """What is in memory may go to the file.

        One that is full, or has to make room, is left when all of it has gone, and another one begun. It is not written
        from its beginning again: what sendfile(2) has sent is in the socket as pages of the file, not as a copy.
        """
        if (self._spool_is_full or self._written >= self._file_limit) and self._file and not self._is_in_file(exchange):
            self._file = None
            self._written = 0
        return self.slow and not self._spool_is_full and self._written < self._file_limit

    def move_to_file(self, exchange: ServerExchange) -> str | None:
        """Move what has lined up in memory to the file, if there is more of it than memory is for.

        Gives the reason for which that is impossible. Then memory is all there is. (Not the exception: its traceback
        leads to the caller's frame, so a caller that holds it keeps itself, and our file, in a cycle.)
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
        """None: there is no room for it."""
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
