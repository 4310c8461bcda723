"""Watches files for changes by inotify(7), whose descriptor is readable after a change, so that any loop can wait.

Python has no wrappers for its system calls, but the C library does; hence `ctypes`.
"""

import asyncio
import ctypes
import os
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from septet.loop.fs._backend import StrPath

EVENT = struct.Struct("iIII")
"""struct inotify_event: watch descriptor, mask, cookie, length of the name that follows."""

KINDS = {
    0x002: "modified",
    0x004: "attributes",
    0x008: "written",  # closed after writing: the contents are complete
    0x040: "moved away",
    0x080: "moved here",
    0x100: "created",
    0x200: "deleted",
    0x400: "gone",  # the watched file or directory itself
    0x800: "renamed",  # the watched file or directory itself
    0x4000: "overflow",  # the kernel's queue was full: events are missing
}
"""The kinds of a `Change`, by the bits of inotify(7)."""

_MASK = sum(KINDS) & 0xFFF
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Change:
    """One change of a file or directory."""

    kind: str
    """The kind of the change, one of the values of `KINDS`."""
    path: str
    """The file or directory: the watched path, or that joined with a name in it."""


class Watch:
    """An asynchronous iterator of `Change`s, to be used in an `async with` block, which begins and ends the watching.

        async with fs.watch("/etc/app") as changes:
            async for change in changes:
                print(change.kind, change.path)

    Changes in subdirectories are not reported.

    Raises:
        OSError: on entering the block: there is no such file, or fs.inotify.max_user_watches is reached (ENOSPC).
    """

    def __init__(self, path: StrPath) -> None:
        self._path = os.fspath(path)
        self._fd = -1
        self._changes: asyncio.Queue[Change] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        libc = ctypes.CDLL(None, use_errno=True)
        fd = libc.inotify_init1(_NONBLOCK_CLOEXEC)
        if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(self._path), _MASK) < 0:
            code = ctypes.get_errno()
            if fd >= 0:
                os.close(fd)
            raise OSError(code, os.strerror(code), self._path)
        self._fd = fd
        asyncio.get_running_loop().add_reader(fd, self._take)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        return await self._changes.get()

    def _take(self) -> None:
        data = os.read(self._fd, 65536)
        at = 0
        while at < len(data):
            _, mask, _, length = EVENT.unpack_from(data, at)
            at += EVENT.size + length
            name = data[at - length : at].rstrip(b"\0")
            kind = KINDS.get(mask & 0xFFFF & ~0x8000)
            if kind:  # otherwise IN_IGNORED, which follows "gone"
                path = os.path.join(self._path, os.fsdecode(name)) if name else self._path
                self._changes.put_nowait(Change(kind, path))
