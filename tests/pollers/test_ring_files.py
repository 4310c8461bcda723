"""Files through a ring: what the kernel does is compared with what `os` does."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from septet.pollers._file_operations import stat_result
from septet.pollers.ring import Ring, obstacle

pytestmark = pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))

RESOLVE_BENEATH = 8


@pytest.fixture
def ring() -> Iterator[Ring]:
    with Ring(8) as ring:
        yield ring


def result(ring: Ring, prepare: Callable[..., int], *args: Any, **options: Any) -> int:
    """Prepare an operation whose callback comes after its other arguments, and wait for its result."""
    seen: list[int] = []
    prepare(*args, lambda res, flags, data: seen.append(res), **options)
    while not seen:
        ring.wait(10)
    return seen[0]


def test_written_synced_and_read(ring: Ring, tmp_path: Path) -> None:
    path = tmp_path / "file"
    fd = result(ring, ring.openat2, os.fsencode(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    assert path.stat().st_mode & 0o777 == 0o640 & ~_umask()
    assert result(ring, ring.write, fd, b"hello, ring", offset=0) == 11
    assert result(ring, ring.fsync, fd) == 0
    assert result(ring, ring.fsync, fd, data_only=True) == 0
    buffer = bytearray(64)
    assert result(ring, ring.read, fd, buffer, offset=7) == 4
    assert buffer[:4] == b"ring"
    os.close(fd)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_position_moves_on_where_no_offset_is_given(ring: Ring, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abcdef")
    with (tmp_path / "file").open("rb", 0) as file:
        buffer = bytearray(2)
        assert [(result(ring, ring.read, file.fileno(), buffer), bytes(buffer)) for _ in "abc"] == [
            (2, b"ab"),
            (2, b"cd"),
            (2, b"ef"),
        ]


def test_statx_is_stat(ring: Ring, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 12345)
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    for name in (path, tmp_path, Path("/dev/null")):
        status = bytearray(256)
        assert result(ring, ring.statx, os.fsencode(name), status) == 0
        assert stat_result(status) == os.stat(name)
        ours, theirs = stat_result(status), os.stat(name)
        for field in (field for field in dir(theirs) if field.startswith("st_")):
            assert getattr(ours, field) == pytest.approx(getattr(theirs, field), rel=1e-12), field


def test_error_is_a_number(ring: Ring, tmp_path: Path) -> None:
    assert result(ring, ring.statx, os.fsencode(tmp_path / "no"), bytearray(256)) == -errno.ENOENT
    assert result(ring, ring.openat2, os.fsencode(tmp_path / "no"), os.O_RDONLY, 0) == -errno.ENOENT


def test_resolution_can_be_confined(ring: Ring, tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_PATH)
    try:
        refused = result(ring, ring.openat2, b"../..", os.O_RDONLY, 0, dir_fd=directory, resolve=RESOLVE_BENEATH)
    finally:
        os.close(directory)
    assert refused == -errno.EXDEV
