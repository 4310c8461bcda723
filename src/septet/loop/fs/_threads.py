"""Files by the threads of the loop's executor: what every loop can do. A whole file is one errand, not four."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from septet.loop.fs._verbs import Path

T = TypeVar("T")


class ThreadFiles:
    """A thread cannot be stopped: who is cancelled leaves it to finish alone."""

    async def open(self, path: Path, flags: int, permissions: int) -> int:
        opening = _do(os.open, path, flags, permissions)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            raise

    async def close(self, fd: int) -> None:
        await _do(os.close, fd)

    async def stat(self, path: Path, follow_symlinks: bool) -> os.stat_result:
        return await _do(partial(os.stat, path, follow_symlinks=follow_symlinks))

    async def read(self, fd: int, size: int, offset: int) -> bytes:
        return await _do(os.pread, fd, size, offset)

    async def read_whole(self, path: Path) -> bytes:
        return await _do(_read_whole, path)

    async def write(self, fd: int, data: bytes, offset: int) -> int:
        return await _do(os.pwrite, fd, data, offset)

    async def fsync(self, fd: int, data_only: bool) -> None:
        await _do(os.fdatasync if data_only else os.fsync, fd)


def _do(errand: Callable[..., T], *args: object) -> "asyncio.Future[T]":
    return asyncio.get_running_loop().run_in_executor(None, errand, *args)


def _read_whole(path: Path) -> bytes:
    with open(path, "rb", 0) as file:
        return file.read()


def _close_unwanted(opening: "asyncio.Future[int]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())
