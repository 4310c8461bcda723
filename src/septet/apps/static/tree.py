"""A directory that no request can leave: by no name, by no link, and not while a link is swapped for a directory.

A name is opened component by component, each relative to the directory opened before it, and no component may be a link
(openat(2), O_NOFOLLOW). There is no check before the opening, so there is no race between the two. A link that stays
inside the directory is allowed: its name is resolved first, and the result is opened in this way.

Recognising a file costs less than opening it: if lstat(2) finds all directories on its way and the file itself
unchanged, opening would give the same file in the same state. A link in place of a directory is noticed like a change
of the file. The root directory is named by the administrator and may be a link; it is followed anew each time, so it
can be switched from one release to the next.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

LINK_MET = frozenset({errno.ELOOP, errno.ENOTDIR})
"""The errors by which open(2) reports that a component of a name is a link: ELOOP with O_NOFOLLOW, ENOTDIR with
O_DIRECTORY as well.
"""

# Without O_NONBLOCK, opening a FIFO would wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_DIRECTORY = os.O_PATH | os.O_DIRECTORY

_NOT_PLAIN = frozenset({b"", b".", b".."})


class Identity(NamedTuple):
    """One state of one file: a change of its content changes one of these fields (inode(7); times in ns since 1970)."""

    mode: int
    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def identity(status: os.stat_result) -> Identity:
    """Make an Identity from a result of stat(2)."""
    return Identity(
        status.st_mode, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


PathState = tuple[bytes, Identity]
"""A path, and the state in which a file or directory was found there."""


def unchanged(path_states: tuple[PathState, ...]) -> bool:
    """True if lstat(2) finds every path in the state that was recorded."""
    lstat = os.lstat
    try:
        for path, known in path_states:
            now = lstat(path)
            # A plain tuple compares like an Identity, and is made in a third of the time.
            if known != (now.st_mode, now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns):
                return False
    except OSError:
        return False
    return True


def is_plain(name: bytes) -> bool:
    """True if no component of the name is empty, `.` or `..`; other names must be resolved with `Tree.resolve`."""
    return _NOT_PLAIN.isdisjoint(name.split(b"/"))


class Tree:
    """The files below a directory. Names are relative to it, and have no slash at either end."""

    def __init__(self, directory: str) -> None:
        self._root = os.fsencode(os.path.abspath(directory)).rstrip(b"/") + b"/"
        """The directory with a slash at the end, so that lstat(2) follows it if it is a link."""

    def path(self, name: bytes) -> bytes:
        return self._root + name

    def ancestors(self, name: bytes) -> tuple[PathState, ...]:
        """Return the states of the directories that lead to a name. Raises OSError."""
        paths = [self._root]
        for component in name.split(b"/")[:-1]:
            paths.append(paths[-1].rstrip(b"/") + b"/" + component)
        return tuple((path, identity(os.lstat(path))) for path in paths)

    @contextmanager
    def directory_of(self, name: bytes) -> Iterator[int]:
        """Context manager: a descriptor (O_PATH) of the directory that holds `name`, closed at the end. `name` must be
        plain (`is_plain`). Raises OSError, with an errno in `LINK_MET` if a component of the name is a link.
        """
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
        """Open the file called `name`, which must be plain (`is_plain`); returns a descriptor. Raises OSError, with an
        errno in `LINK_MET` if a component of the name is a link.
        """
        if b"/" not in name:
            return os.open(self._root + name, _FILE)
        with self.directory_of(name) as directory:
            return open_in(directory, name)

    def resolve(self, name: bytes) -> bytes:
        """Return the name, relative to the directory and without links, of the file to which `name` leads.

        Raises FileNotFoundError if that file lies outside of the directory, IsADirectoryError if it is the directory
        itself.
        """
        # As browsers do: `..` removes a component of the name. A name that leaves the directory and returns
        # (../public/a.txt, ../proc/1/cwd/a.txt) would tell clients what is outside.
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
    """Open the last component of `name` in the directory with this descriptor; returns a descriptor. Raises OSError."""
    return os.open(name.rpartition(b"/")[2], _FILE, dir_fd=directory)
