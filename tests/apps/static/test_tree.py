"""Names below a directory: which are opened, how others are resolved, and which lead out."""

import os
from pathlib import Path

import pytest

from septet.apps.static.tree import Tree, is_plain, unchanged

NAME = b"one/two/a.txt"


@pytest.fixture
def links(root: Path) -> Tree:
    """A directory `public` with links of all kinds."""
    public = root / "public"
    (public / "file").symlink_to("one/two/a.txt")
    (public / "directory").symlink_to("one")
    (public / "out").symlink_to("../outside")
    (public / "loop").symlink_to("loop")
    return Tree(str(public))


@pytest.mark.parametrize("name", [b"file", b"directory/two/a.txt", b"out/two/a.txt", b"loop", b"loop/a"])
def test_no_link_is_opened(links: Tree, name: bytes) -> None:
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        links.open(name)


@pytest.mark.parametrize("name", [b"file", b"directory/two/a.txt", b"./one/../one//two/a.txt", b"one/two/a.txt"])
def test_name_is_resolved(links: Tree, name: bytes) -> None:
    assert links.resolve(name) == NAME
    os.close(links.open(NAME))


@pytest.mark.parametrize(
    "name",
    [b"out", b"out/two/a.txt", b"..", b"one/../..", b"../public-not", b"directory/../../x", b"../public/one/two/a.txt",
     b"one/../../public", b"../public"],
)  # fmt: skip
def test_name_that_leads_out(links: Tree, name: bytes) -> None:
    """Even if it came in again, since that would tell what is outside."""
    with pytest.raises(FileNotFoundError):
        links.resolve(name)


@pytest.mark.parametrize("name", [b".", b"one/..", b"directory/.."])
def test_name_of_the_directory_itself(links: Tree, name: bytes) -> None:
    with pytest.raises(IsADirectoryError):
        links.resolve(name)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        (b"a", True),
        (b"a/b", True),
        (b".a/..b", True),
        (b"", False),
        (b"a//b", False),
        (b"a/./b", False),
        (b"..", False),
    ],
)
def test_plain_name(name: bytes, plain: bool) -> None:
    assert is_plain(name) is plain


def test_no_descriptor_is_left_open(links: Tree) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in (b"one/two/none", b"one/none/a.txt", b"directory/two/a.txt", b"file"):
        with pytest.raises(OSError, match=r"^\[Errno "):
            links.open(name)
    os.close(links.open(NAME))
    assert len(os.listdir("/proc/self/fd")) == before


def test_ancestors_are_not_followed(root: Path, links: Tree) -> None:
    """The states of all directories from the root on. Links are not followed, except the root itself."""
    way = links.ancestors(NAME)
    assert [path for path, _ in way] == [links.path(name) for name in (b"", b"one", b"one/two")]
    assert unchanged(way)
    (root / "public/one").rename(root / "public/moved")
    (root / "public/one").symlink_to("moved")
    assert not unchanged(way)
