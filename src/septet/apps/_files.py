"""Open files that an answer is made of: which of them the kernel may read for us, and until when they stay open.

sendfile(2) sends what a descriptor holds, which is not what a file object reads if the object decompresses, decodes
or counts. And a stretch of a file may wait for its client long after the application is done with the file, so it has
a descriptor of its own.
"""

import io
import os
import stat
import tempfile
from typing import Any, BinaryIO

from septet.exchange import FileRegion


class OwnedDescriptor:
    """Closes a descriptor when nothing refers to it any more: a `FileRegion` that was sent, or given up."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


def owned(descriptor: int) -> OwnedDescriptor:
    """What was just opened; it is closed if there is no memory for that."""
    try:
        return OwnedDescriptor(descriptor)
    except MemoryError:
        os.close(descriptor)
        raise


def region_of_rest(filelike: BinaryIO) -> FileRegion | None:
    """A file from where it stands to its end; None if its bytes are not those that `read` gives, or no descriptor is
    free for it. (Files of the kernel's own, in /proc and /sys, say that they are empty, or what they might hold at
    most; they take no room on a disk.)"""
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
        descriptor = os.dup(raw.fileno())
    except (OSError, ValueError):  # a pipe, a closed file, too many open files: reading will tell
        return None
    return FileRegion(descriptor, offset, max(0, status.st_size - offset), owner=owned(descriptor))
