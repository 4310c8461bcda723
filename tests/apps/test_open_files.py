"""Files that are sent have descriptors of their own, which are closed whatever fails while they are opened."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from septet.apps._files import OwnedDescriptor, region_of_rest
from septet.apps._messages import path_region, region_of
from septet.apps.static.files import Files
from septet.apps.static.tree import Tree
from septet.models._run_ahead import RunAhead
from septet.processes.spool import Spool


def wrapped(path: Path) -> None:
    with path.open("rb") as file:
        region_of_rest(file)


def sent_without_copy(path: Path) -> None:
    with path.open("rb") as file:
        region_of({"file": file})


def static(path: Path) -> None:
    files = Files(Tree(str(path.parent)), b"", lambda: 0)
    files.open(next(iter(files.find(path.name.encode()).representations.values())))


def kept_for_a_slow_client(_: Path) -> None:
    RunAhead(Spool(1 << 20))._write(b"output")


@pytest.mark.parametrize(
    "open_file", [wrapped, sent_without_copy, lambda path: path_region({"path": path}), static, kept_for_a_slow_client]
)
def test_a_file_that_lacks_memory_is_closed(
    open_file: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    open_file(path)

    def lacks_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(OwnedDescriptor, "close_in_children", lacks_memory)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(MemoryError) as caught:
            open_file(path)
        del caught
    assert len(os.listdir("/proc/self/fd")) == len(before)
