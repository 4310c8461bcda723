"""A directory out of which nothing leads: no name, no link, and nobody who changes either at the wrong moment.

A name is opened component by component, each in the directory that was opened before it, and none of them may be a
link (openat(2), O_NOFOLLOW). There is nothing between a check and an opening, so no race between them can be won. A
link that stays inside is allowed all the same: its name is resolved first, and what that gives is opened so.

To know a file again costs less than to open it: when lstat(2) finds the directories on its way and the file itself as
they were, opening would lead to the same file in the same state. So a link that takes the place of a directory is seen
as surely as a change of the file. The directory itself is named by its administrator, and may be a link: every look
follows it anew, so that it can be switched from one release to the next.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

LINK_MET = frozenset({errno.ELOOP, errno.ENOTDIR})
"""What O_NOFOLLOW says of a link, alone and together with O_DIRECTORY."""

# Without O_NONBLOCK, opening a FIFO would wait for somebody to write to it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_DIRECTORY = os.O_PATH | os.O_DIRECTORY

_NOT_PLAIN = frozenset({b"", b".", b".."})


class Identity(NamedTuple):
    """One state of one file: nobody can change its content without changing this (inode(7); times in ns)."""

    mode: int
    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def identity(status: os.stat_result) -> Identity:
    """Of what stat(2) has found."""
    return Identity(
        status.st_mode, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


PathState = tuple[bytes, Identity]
"""A path, and what was there."""


def unchanged(path_states: tuple[PathState, ...]) -> bool:
    """Whether all of them would be seen again now."""
    lstat = os.lstat
    try:
        for path, known in path_states:
            now = lstat(path)
            # A plain tuple: it is compared like an Identity, and made in a third of the time.
            if known != (now.st_mode, now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns):
                return False
    except OSError:
        return False
    return True


def is_plain(name: bytes) -> bool:
    """Whether no component of the name is empty, `.` or `..`, which only resolving gives a meaning."""
    return _NOT_PLAIN.isdisjoint(name.split(b"/"))


class Tree:
    """What lies below a directory. Names are relative to it, and have no slash at either end."""

    def __init__(self, directory: str) -> None:
        self._root = os.fsencode(os.path.abspath(directory)).rstrip(b"/") + b"/"
        """With its slash lstat(2) follows it, too, if it is a link."""

    def path(self, name: bytes) -> bytes:
        return self._root + name

    def ancestors(self, name: bytes) -> tuple[PathState, ...]:
        """The directories that lead to a name, as they are now. Raises OSError."""
        paths = [self._root]
        for component in name.split(b"/")[:-1]:
            paths.append(paths[-1].rstrip(b"/") + b"/" + component)
        return tuple((path, identity(os.lstat(path))) for path in paths)

    @contextmanager
    def directory_of(self, name: bytes) -> Iterator[int]:
        """A descriptor of the directory that holds a plain name. Raises OSError: `LINK_MET` for a link on the way."""
        descriptor = os.open(self._root, _DIRECTORY)
        try:
            for component in name.split(b"/")[:-1]:
                deeper = os.open(component, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = deeper
            yield descriptor
        finally:
            os.close(descriptor)

    def open(self, name: bytes) -> int:
        """A descriptor for reading a plain name. Raises OSError: `LINK_MET` when the name or its way is a link."""
        if b"/" not in name:
            return os.open(self._root + name, _FILE)
        with self.directory_of(name) as directory:
            return open_in(directory, name)

    def resolve(self, name: bytes) -> bytes:
        """The plain name without links to which any name leads.

        Raises FileNotFoundError when that lies outside, IsADirectoryError when it is the directory itself.
        """
        # As browsers do: `..` takes back a component of the name, wherever that leads. A name that went out and came in
        # again (../public/a.txt, ../proc/1/cwd/a.txt) would tell strangers what is outside.
        name = os.path.normpath(name)
        if name.split(b"/")[0] == b"..":
            raise FileNotFoundError(errno.ENOENT, "outside of the directory")
        root = os.path.realpath(self._root)
        path = os.path.realpath(root + b"/" + name)
        if path == root:
            raise IsADirectoryError(errno.EISDIR, "the directory itself")
        inside = root.rstrip(b"/") + b"/"
        if not path.startswith(inside):
            raise FileNotFoundError(errno.ENOENT, "outside of the directory")
        return path[len(inside) :]


def open_in(directory: int, name: bytes) -> int:
    """A descriptor for reading the last component of `name` in the directory with this descriptor. Raises OSError."""
    return os.open(name.rpartition(b"/")[2], _FILE, dir_fd=directory)
