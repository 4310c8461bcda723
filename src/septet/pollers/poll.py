"""poll(2): the list of descriptors lives here and goes to the kernel with every call.

So telling the poller something costs no system call, and waiting costs time in proportion to the
number of descriptors, idle or not. It is the cheapest poller for a handful of them.
"""

import select

from septet.pollers._poller import EXCLUSIVE, Ready


class Poll:
    """The poller over poll(2). Holds no descriptor of its own, so a forked child may use and change its copy."""

    def __init__(self) -> None:
        self._poll = select.poll()

    def add(self, fd: int, mask: int) -> None:
        """Start to report `fd`. `EXCLUSIVE` has no meaning to poll(2) and is left out."""
        self._poll.register(fd, mask & ~EXCLUSIVE)

    def modify(self, fd: int, mask: int) -> None:
        """Report other events of `fd`.

        Raises:
            FileNotFoundError: it was not added.
        """
        self._poll.modify(fd, mask & ~EXCLUSIVE)

    def remove(self, fd: int) -> None:
        """Report `fd` no more; quiet if it was not reported."""
        try:
            self._poll.unregister(fd)
        except KeyError:
            pass

    def wait(self, timeout_s: float | None) -> Ready:
        """What is ready within `timeout_s` seconds, rounded up to the next millisecond (None: no limit)."""
        return self._poll.poll(None if timeout_s is None else timeout_s * 1000)

    def forsake(self) -> None:
        """In a forked child: what close() does."""
        self.close()

    def close(self) -> None:
        """Forget all descriptors."""
        self._poll = select.poll()
