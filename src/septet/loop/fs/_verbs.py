"""What a backend of files does: seven verbs on paths and descriptors."""

import os
from typing import Protocol

Path = str | os.PathLike[str]


class Files(Protocol):
    """All raise OSError, with the path where there is one."""

    async def open(self, path: Path, flags: int, permissions: int) -> int:
        """A descriptor. If the caller is cancelled meanwhile, it is closed when it comes."""

    async def close(self, fd: int) -> None:
        """Also if the caller is cancelled."""

    async def stat(self, path: Path, follow_symlinks: bool) -> os.stat_result:
        """As os.stat()."""

    async def read(self, fd: int, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset` on; fewer at the end of the file, or where a signal came."""

    async def read_whole(self, path: Path) -> bytes:
        """Open, read to the end, close."""

    async def write(self, fd: int, data: bytes, offset: int) -> int:
        """How many bytes were written, at least one."""

    async def fsync(self, fd: int, data_only: bool) -> None:
        """As os.fsync() or os.fdatasync()."""
