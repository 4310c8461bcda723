"""epoll(7): the list of descriptors lives in the kernel, and only those that are ready come back.

So waiting costs the same with 10 descriptors as with 15,000, and each change of the list is a system
call. A descriptor that is closed leaves the list by itself, unless a copy of it is open elsewhere.
"""

import select
from collections.abc import Callable

from septet.pollers._poller import Ready


class Epoll:
    """The poller over epoll(7), level-triggered unless `select.EPOLLET` is added to a mask.

    A forked child shares the kernel's list with its parent: what it adds or removes, it does to both.
    It may only close() its copy.
    """

    wait: Callable[[float | None], Ready]
    """What is ready within so many seconds, rounded up to the next millisecond (None: no limit).

    This is `select.epoll.poll` itself, since a method around it would cost as much as a tenth of the call.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.wait = self._epoll.poll

    def fileno(self) -> int:
        """The epoll descriptor, which is readable itself when one of its descriptors is ready."""
        return self._epoll.fileno()

    def add(self, fd: int, mask: int) -> None:
        """Start to report `fd`.

        Raises:
            FileExistsError: it is reported already.
            PermissionError: it is a file that is always ready, such as a regular one.
        """
        self._epoll.register(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        """Report other events of `fd`. `EXCLUSIVE` can be set by add() alone (EINVAL).

        Raises:
            FileNotFoundError: it was not added, or it was closed since.
        """
        self._epoll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        """Report `fd` no more; quiet if it was closed or is not reported."""
        try:
            self._epoll.unregister(fd)
        except (OSError, ValueError):  # EBADF, ENOENT; ValueError: this poller is closed
            pass

    def forsake(self) -> None:
        """In a forked child: what close() does."""
        self.close()

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()
