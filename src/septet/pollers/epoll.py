"""epoll(7): the kernel keeps the list of descriptors and returns only those that are ready.

Waiting costs the same with 10 descriptors as with 15,000. Each change of the list is a system call. A descriptor that
is closed leaves the list, unless a duplicate of it is open elsewhere.
"""

import select
from collections.abc import Callable

from septet.pollers._poller import Ready


class Epoll:
    """The poller over epoll(7), level-triggered unless `select.EPOLLET` is added to a mask.

    A forked child shares the kernel's list with its parent: adding or removing there affects both. The child may only
    close() its copy.
    """

    wait: Callable[[float | None], Ready]
    """`wait(timeout_s)` as in `Poller`; the time is rounded up to milliseconds.

    It is `select.epoll.poll` itself: a method around it would add a tenth to the cost of the call.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.wait = self._epoll.poll

    def fileno(self) -> int:
        """Return the epoll descriptor; it is readable when one of the listed descriptors is ready."""
        return self._epoll.fileno()

    def add(self, fd: int, mask: int) -> None:
        """From now on report `fd` when one of the events in `mask` has occurred.

        Raises FileExistsError if `fd` was added already, and PermissionError if it is a regular file or directory,
        which epoll does not support.
        """
        self._epoll.register(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        """Replace the events of interest of `fd`. `EXCLUSIVE` can only be set by add(); here it is an OSError (EINVAL).

        Raises:
            FileNotFoundError: it was not added, or has been closed since.
        """
        self._epoll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        """Stop reporting `fd`; no error if it is closed or was not added."""
        try:
            self._epoll.unregister(fd)
        except (OSError, ValueError):  # EBADF, ENOENT; ValueError: this poller is closed
            pass

    def close_in_child(self) -> None:
        """Called in a forked child process: close the child's copy of the epoll descriptor."""
        self.close()

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()
