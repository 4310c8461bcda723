"""Open files that are part of an answer: which of them sendfile(2) may send, and how long they stay open.

sendfile(2) sends the bytes of the descriptor. The `read` of a file object that decompresses, decodes or counts may
return other bytes, so such a file must not be sent by sendfile(2). A part of a file may wait for its client long after
the application has closed the file, so it has a descriptor of its own.
"""

import io
import os
import stat
import tempfile
from typing import Any, BinaryIO
from weakref import ref

from septet import forked
from septet.exchange import FileRegion


class OwnedDescriptor:
    """Holds the descriptor of an open file, and closes it when this object is freed, together with the last
    `FileRegion` that refers to this object.

    Whoever opens the file makes this object first and assigns the result of open(2) or dup(2) to `number` at once.
    Nothing that may lack memory comes in between, so the descriptor is closed whatever fails later.
    """

    __slots__ = ("__weakref__", "number")

    def __init__(self) -> None:
        self.number = -1

    def close_in_children(self) -> None:
        """From now on, a child that the application forks closes its copy of the descriptor."""
        forked.files[self.number] = ref(self)

    def __del__(self) -> None:
        if self.number >= 0:
            forked.files.pop(self.number, None)
            os.close(self.number)


def region_of_rest(filelike: BinaryIO) -> FileRegion | None:
    """Return the region of a file from its position to its end, for sendfile(2).

    None if sendfile(2) would send other bytes than `read` returns, or if no descriptor is free. (Files in /proc and
    /sys report a size of 0 or a maximum, and no blocks on a disk; they must be read.)
    """
    file: Any = filelike.file if isinstance(filelike, tempfile._TemporaryFileWrapper) else filelike
    raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
    if type(raw) is not io.FileIO:
        return None
    try:
        file.flush()
        offset = file.tell()
        status = os.fstat(raw.fileno())
        if not (stat.S_ISREG(status.st_mode) and status.st_size and status.st_blocks and raw.readable()):
            return None
        owner = OwnedDescriptor()
        owner.number = os.dup(raw.fileno())
    except (OSError, ValueError):  # a pipe, a closed file, too many open files: `read` will raise
        return None
    owner.close_in_children()
    return FileRegion(owner.number, offset, max(0, status.st_size - offset), owner=owner)
