"""How far an application may run ahead of a client that reads slowly, and where what it has said waits meanwhile.

A thread that had to wait for every slow client would soon be missed by the others. So what the client does not take
is kept: first in memory; then, if the client is really slow, in a temporary file, which costs no memory and goes out by
sendfile(2); and when that has grown to its bound the application waits, as long as `--write-timeout` allows. waitress
and nginx do the same (nginx: 64 KiB and 1 GiB, by proxy_buffers and proxy_max_temp_file_size).
"""

import os
import tempfile

from septet.apps._files import OwnedDescriptor
from septet.http.events import FileRegion
from septet.session import Session

MEMORY_BYTES = 1 << 20
"""What waits in memory before anything is done about it."""

FILE_BYTES = 32 << 20
"""What waits in the temporary file of one answer at most; with all of `--threads` it is that much for each."""

SLOW_S = 0.05
"""A client that has not made room in memory within this time is slow: a file costs more than so short a wait."""


class RunAhead:
    """What one answer keeps for its client. Each method is called while nothing else touches the session."""

    __slots__ = ("_bound", "_file", "_written", "slow")

    def __init__(self) -> None:
        self._file: OwnedDescriptor | None = None
        self._written = 0
        self._bound = FILE_BYTES
        self.slow = False

    def is_full(self, session: Session) -> bool:
        """The application has to wait until the client has taken some of it."""
        if self.slow and self._in_file(session) < self._bound:
            return False
        return session.in_memory > MEMORY_BYTES

    def put_away(self, session: Session) -> str | None:
        """Move what has lined up in memory to the file, if there is more of it than memory is for.

        Gives the reason for which that is impossible. Then memory is all there is. (Not the exception: its traceback
        leads to the caller's frame, so a caller that holds it keeps itself, and our file, in a cycle.)
        """
        later = session.later
        if not self.slow or session.in_memory <= MEMORY_BYTES or self._in_file(session) >= self._bound:
            return None
        pieces: list[bytes | bytearray] = []
        while later and not isinstance(later[-1], FileRegion):
            pieces.append(later.pop())  # type: ignore[arg-type]
        if later is None or not pieces:
            return None
        pieces.reverse()
        try:
            later.append(self._write(b"".join(pieces)))
        except OSError as error:
            later.extend(pieces)
            self._bound = 0
            return error.strerror or str(error)
        return None

    def _write(self, data: bytes) -> FileRegion:
        if self._file is None:
            with tempfile.TemporaryFile() as file:
                self._file = OwnedDescriptor(os.dup(file.fileno()))
        start, rest = self._written, memoryview(data)
        while rest:
            count = os.pwrite(self._file.number, rest, self._written)
            self._written += count
            rest = rest[count:]
        return FileRegion(self._file.number, start, len(data), owner=self._file)

    def _in_file(self, session: Session) -> int:
        regions = [item for item in (session.file, *(session.later or ())) if isinstance(item, FileRegion)]
        return sum(region.count for region in regions if region.owner is self._file and self._file is not None)
