"""`septet.loop.fs` on all loops, and on asyncio's own: the same calls, the same answers, compared with `os`.

All of it twice: with what the kernel's caches answer at once, and without, so that everything is left to the backend.
"""

import asyncio
import io
import os
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any, cast

import pytest

from septet.loop import fs, new_event_loop

Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture(params=["poll", "epoll", "io_uring", "asyncio"])
def run(request: pytest.FixtureRequest, caches: bool) -> Any:
    if request.param != "asyncio":
        request.getfixturevalue("_ours")
    with asyncio.Runner(loop_factory=partial(_new_loop, request.param, caches)) as runner:
        yield lambda awaitable: runner.run(asyncio.wait_for(awaitable, 30))


@pytest.fixture(params=[True, False], ids=["caches", "backend"])
def caches(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def _new_loop(name: str, caches: bool) -> asyncio.AbstractEventLoop:
    loop: Any = asyncio.new_event_loop() if name == "asyncio" else new_event_loop(name)
    if not caches:
        loop._septet_files = fs._backend(loop)
    return cast(asyncio.AbstractEventLoop, loop)


@pytest.fixture
def _ours(request: pytest.FixtureRequest) -> None:
    from septet.pollers.ring import obstacle

    reason = obstacle() if request.node.callspec.params["run"] == "io_uring" else None
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1_000_000])
def test_whole_files(run: Run, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    assert run(fs.write_bytes(tmp_path / "file", data)) == size
    assert (tmp_path / "file").read_bytes() == data
    assert run(fs.read_bytes(tmp_path / "file")) == data


def test_file_of_unknown_size(run: Run) -> None:
    """Files of /proc have size 0."""
    assert run(fs.read_bytes("/proc/self/status")).startswith(b"Name:")


def test_file_that_comes_by_the_page(run: Run) -> None:
    """Files of proc(5) have no size and are read about a page at a time."""
    symbols = Path("/proc/kallsyms")
    expected = symbols.read_bytes()
    assert len(expected) > 65536
    assert run(fs.read_bytes(symbols)) == expected


def test_size_beyond_the_file_takes_no_memory(run: Run, tmp_path: Path) -> None:
    """A size for which no buffer can be allocated."""
    (tmp_path / "file").write_bytes(b"x" * 100_000)

    async def read() -> bytes:
        async with await fs.open(tmp_path / "file") as file:
            return await file.read(1 << 29) + await file.read(1 << 29)

    before = getrusage(RUSAGE_SELF).ru_maxrss
    assert run(read()) == b"x" * 100_000
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 1 << 17  # KiB


def test_stat(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 7)
    (tmp_path / "link").symlink_to("file")
    assert run(fs.stat(tmp_path / "link")) == os.stat(tmp_path / "link")
    assert run(fs.stat(tmp_path / "link", follow_symlinks=False)) == os.lstat(tmp_path / "link")
    assert run(fs.stat(tmp_path / "file")).st_mtime_ns == os.stat(tmp_path / "file").st_mtime_ns


def test_error_names_the_path(run: Run, tmp_path: Path) -> None:
    for call in (fs.stat, fs.read_bytes, fs.open, fs.listdir):
        with pytest.raises(FileNotFoundError) as caught:
            run(call(tmp_path / "no"))
        assert str(tmp_path / "no") in str(caught.value)


def test_null_byte_ends_no_path(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for call in (fs.stat, fs.read_bytes, fs.open):
        with pytest.raises(ValueError, match=r"null (byte|character)"):
            run(call(f"{tmp_path}/file\0.txt"))


def test_file_that_the_page_cache_has_lost(run: Run, tmp_path: Path) -> None:
    data = os.urandom(20_000)
    path = tmp_path / "file"
    for lost in ((0, 0), (8192, 4096)):  # the whole file; something in the midst of it
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), *lost, os.POSIX_FADV_DONTNEED)
        assert run(fs.read_bytes(path)) == data


def test_cached_file_waits_for_nobody(tmp_path: Path) -> None:
    """While files are renamed, the kernel may have to wait for a lock, but nearly always it answers at once."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 7)

    async def main() -> int:
        return sum(_ends_at_once(fs.stat(path)) for _ in range(50))

    assert asyncio.run(main()) > 40


def _ends_at_once(coroutine: Coroutine[Any, Any, Any]) -> bool:
    try:
        coroutine.send(None)
    except StopIteration:
        return True
    coroutine.close()
    return False


def test_cached_files_do_not_keep_others_waiting(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")

    async def main() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        for _ in range(1000):
            await fs.read_bytes(tmp_path / "file")
            if turns >= 10:  # a thread may be slow to get a CPU beside a loop that spins, above all without a GIL
                break
        task.cancel()
        return turns

    assert run(main()) >= 10


def test_open_file(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with await fs.open(tmp_path / "file", "x+b", permissions=0o600) as file:
            assert await file.write(b"hello, world") == 12
            await file.fsync()
            await file.fsync(data_only=True)
            assert file.tell() == 12
            assert await file.read() == b""
            file.seek(7)
            assert await file.read(3) == b"wor"
            assert await file.read() == b"ld"
            assert file.stat().st_mode & 0o777 == 0o600
        await file.close()
        with pytest.raises(ValueError, match="is closed"):
            await file.read()
        async with await fs.open(tmp_path / "file", "ab") as file:
            await file.write(b"!")
        with pytest.raises(FileExistsError):
            await fs.open(tmp_path / "file", "xb")

    run(main())
    assert (tmp_path / "file").read_bytes() == b"hello, world!"


@pytest.mark.parametrize("mode", ["r", "rt", "rbb", "bw", "", "w+", "rwb"])
def test_mode_must_be_binary(run: Run, mode: str) -> None:
    with pytest.raises(ValueError, match="it must be rb"):
        run(fs.open("/dev/null", mode))


def test_pipe_is_no_file(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    writer = os.open(tmp_path / "fifo", os.O_RDWR)
    for call in (fs.open, fs.read_bytes):
        with pytest.raises(io.UnsupportedOperation, match="a stream"):
            run(call(tmp_path / "fifo"))
    os.close(writer)


def test_pipe_that_nobody_reads_is_not_waited_for(run: Run, tmp_path: Path) -> None:
    """A thread that waits for the other end cannot be stopped, and would keep the loop from closing."""
    os.mkfifo(tmp_path / "pipe")

    async def give_up() -> None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.05):
                await fs.open(tmp_path / "pipe", "wb")
        await asyncio.wait_for(asyncio.get_running_loop().shutdown_default_executor(), 10)

    try:
        run(give_up())
    finally:  # else the test itself would not end
        os.close(os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK))


def test_directory_is_no_file(run: Run, tmp_path: Path) -> None:
    """open(2) accepts it; the error still has the path, and no descriptor is left open."""

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(IsADirectoryError) as error:
            run(fs.read_bytes(tmp_path))
        assert error.value.filename == str(tmp_path)
    assert len(os.listdir("/proc/self/fd")) < before + 10  # some are the loop's own, made when it first waits


def test_directory(run: Run, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).touch()
    assert sorted(run(fs.listdir(tmp_path))) == ["a", "b", "c"]


def test_cancelled_open_leaves_no_descriptor(run: Run, tmp_path: Path) -> None:
    """A thread that opens a pipe waits for its other end, after the task that asked was cancelled."""
    os.mkfifo(tmp_path / "fifo")

    async def main() -> None:
        await asyncio.sleep(0.001)  # the loop has all its descriptors
        before = os.listdir("/proc/self/fd")
        for turns in range(20):
            opening = asyncio.ensure_future(fs.open(tmp_path / "fifo"))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            # io_uring opens a pipe without waiting.
            with pytest.raises((asyncio.CancelledError, io.UnsupportedOperation)):
                await opening
        writer = os.open(tmp_path / "fifo", os.O_RDWR)
        await asyncio.get_running_loop().shutdown_default_executor()
        await until(lambda: len(os.listdir("/proc/self/fd")) == len(before) + 1)
        os.close(writer)

    run(main())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - state of the kernel and of threads, which no event announces
        await asyncio.sleep(0.001)


def test_cancelled_read_loses_nothing(run: Run, tmp_path: Path) -> None:
    data = os.urandom(500_000)
    (tmp_path / "file").write_bytes(data)

    async def main() -> bytes:
        read = b""
        async with await fs.open(tmp_path / "file") as file:
            for turns in range(200):
                task = asyncio.ensure_future(file.read(3001))
                for _ in range(turns % 5):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    read += await task
                except asyncio.CancelledError:
                    pass
            return read + await file.read()

    assert run(main()) == data


def test_many_at_once(run: Run, tmp_path: Path) -> None:
    """More operations than a submission queue holds."""
    (tmp_path / "file").write_bytes(b"x" * 100)

    async def main() -> list[bytes]:
        return await asyncio.gather(*(fs.read_bytes(tmp_path / "file") for _ in range(2000)))

    assert set(run(main())) == {b"x" * 100}


def test_watch(run: Run, tmp_path: Path) -> None:
    async def main() -> list[tuple[str, str]]:
        seen: list[tuple[str, str]] = []
        async with fs.watch(tmp_path) as changes:
            await fs.write_bytes(tmp_path / "a", b"x")
            (tmp_path / "a").rename(tmp_path / "b")
            (tmp_path / "b").unlink()
            async for change in changes:
                seen.append((change.kind, Path(change.path).name))
                if change.kind == "deleted":
                    break
        return seen

    assert run(main()) == [
        ("created", "a"),
        ("modified", "a"),
        ("written", "a"),
        ("moved away", "a"),
        ("moved here", "b"),
        ("deleted", "b"),
    ]


def test_nothing_to_watch(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with fs.watch(tmp_path / "no"):
            pass

    with pytest.raises(FileNotFoundError):
        run(main())
