"""`--user` and `--group`: a process that root has started gives root's rights up before it loads the application.

Under a supervisor each generation does so, and the supervisor stays root, as nginx's master process does. So at HUP it
can open ports below 1024, and read certificates and keys that only root may read; the application never can. Without a
supervisor the one process does so after it has opened its addresses.

Logs belong to the user who writes to them, since at USR1 the same process opens them anew. Where the directory is
root's, the file is made by root and given to that user (`give_logs`), which takes some care: in a directory that the
user can change, the name might be a link to a file that only root may write to.
"""

import os
import signal
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from septet.accounts import Identity
from septet.errors import Failed
from septet.processes.children import PR_SET_PDEATHSIG, prctl

PR_SET_DUMPABLE = 4  # prctl(2)


def drop(identity: Identity, supervisor: int | None = None) -> None:
    """Change the user and groups of this process to those of `identity`, for good. Called in the main thread,
    before the application is loaded. Raises Failed.

    `supervisor` is the pid of the parent process at whose death the kernel is to kill this process; None: it is not
    to. That was asked of the kernel before, but it is forgotten when the user changes, so it is asked again. The
    change also gives the files in /proc/self to root and turns core dumps off; this is undone, because the server
    reads its memory use there.
    """
    try:
        identity.assume()
    except OSError as error:
        raise Failed(f"cannot become user {identity.uid} and group {identity.gid}: {error.strerror}") from error
    prctl(PR_SET_DUMPABLE, 1)
    if supervisor is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:  # it had died before
            os._exit(1)
    if not os.access(os.__file__, os.R_OK):  # each later import would fail, with a sentence that explains nothing
        where = os.path.dirname(os.__file__)
        name = dict(identity.variables).get("USER")
        named = f"{name} ({identity.uid})" if name else str(identity.uid)
        raise Failed(
            f"user {named}, named by --user or --group, cannot read Python's library in {where}: use a Python that all "
            "users can read, such as /usr/bin/python3, or open that directory to them"
        )


def give_logs(paths: Iterable[str], identity: Identity) -> None:
    """Give the log files at these absolute paths to the user who will write to them, and make those that are
    missing. Only root can give files away; in any other process this at most makes missing files. May be called in
    a signal handler.

    Nothing is done in a directory that the user can change, because the user's processes can make the file there
    themselves, nor to anything but a regular file. Errors are not reported: opening the log will show them.
    """
    for path in paths:
        with suppress(OSError), _directory(os.path.dirname(path), identity) as directory:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            log = os.open(os.path.basename(path), flags, 0o666, dir_fd=directory)
            try:
                status = os.fstat(log)
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid != identity.uid:
                    os.fchown(log, identity.uid, -1)
            finally:
                os.close(log)


def gives_log(path: str, identity: Identity) -> bool:
    """Return True if `give_logs`, called with this absolute path, would make the log file or give it to the user:
    this process is root, and the user cannot change the directory.
    """
    with suppress(OSError), _directory(os.path.dirname(path), identity):
        return os.geteuid() == 0
    return False


@contextmanager
def _directory(path: str, identity: Identity) -> Iterator[int]:
    """Context manager: open the directory `path`, and yield a descriptor (O_PATH) of it. Raises PermissionError if
    the user of `identity` can change what lies in the directory, or can change or replace one of the directories
    above it.

    Each directory of the path is opened in turn, from the root, so that none can be replaced between its check and
    its use. Only symbolic links that belong to root are followed.
    """
    names = list(Path(path).parts[1:])
    links = 0
    opened = os.open("/", _STEP)
    try:
        while names:
            _check(opened, identity, last=False)
            name = names.pop(0)
            try:
                below = os.open(name, _STEP, dir_fd=opened)
            except NotADirectoryError:
                links += 1
                of_root = os.stat(name, dir_fd=opened, follow_symlinks=False).st_uid == 0
                target = Path(os.readlink(name, dir_fd=opened))  # OSError if it is no link
                if links > _MOST_LINKS or not of_root:
                    raise
                names[:0] = target.parts[target.is_absolute() :]
                if not target.is_absolute():
                    continue
                below = os.open("/", _STEP)
            os.close(opened)
            opened = below
        _check(opened, identity, last=True)
        yield opened
    finally:
        os.close(opened)


_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # as path_resolution(7) has it


def _check(directory: int, identity: Identity, last: bool) -> None:
    """Raise PermissionError if the user of `identity` can change what lies in the directory with the descriptor
    `directory`. `last` is True if that is the directory in which a file is to be made, and False if it is one above
    it.
    """
    if _can_change(os.fstat(directory), identity, last):
        raise PermissionError(f"user {identity.uid} can change {os.readlink(f'/proc/self/fd/{directory}')}")


def _can_change(status: os.stat_result, identity: Identity, last: bool) -> bool:
    """Return True if the user can rename or replace what lies in a directory. In a directory with the sticky bit (/tmp)
    users can replace only what is theirs, but make new files: it counts as one that the user can change only if it is
    the `last` directory of a path, in which a file is to be made.
    """
    if status.st_uid == identity.uid:
        return True
    by_group = status.st_mode & stat.S_IWGRP and status.st_gid in identity.groups
    by_all = status.st_mode & stat.S_IWOTH and (last or not status.st_mode & stat.S_ISVTX)
    return bool(by_group or by_all)
