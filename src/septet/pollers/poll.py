"""poll(2): the process keeps the list of descriptors and passes it to the kernel with every call.

Changing the list costs no system call. Waiting takes time in proportion to the number of descriptors, idle or not. It
is the cheapest poller for a few descriptors.
"""

import select

from septet.pollers._poller import EXCLUSIVE, READABLE, Ready


class Poll:
    """The poller over poll(2). It has no descriptor of its own, so a forked child may use and change its copy."""

    def __init__(self) -> None:
        self._poll = select.poll()

    @classmethod
    def for_reading(cls, *descriptors: int) -> "Poll":
        """Return a poller that reports which of these descriptors can be read."""
        poller = cls()
        for descriptor in descriptors:
            poller.add(descriptor, READABLE)
        return poller

    def add(self, fd: int, mask: int) -> None:
        """From now on report `fd` when one of the events in `mask` has occurred. `EXCLUSIVE` is ignored, because
        poll(2) does not have it.
        """
        self._poll.register(fd, mask & ~EXCLUSIVE)

    def modify(self, fd: int, mask: int) -> None:
        """Replace the events of interest of `fd`.

        Raises:
            FileNotFoundError: it was not added.
        """
        self._poll.modify(fd, mask & ~EXCLUSIVE)

    def remove(self, fd: int) -> None:
        """Stop reporting `fd`; no error if it was not added."""
        try:
            self._poll.unregister(fd)
        except KeyError:
            pass

    def wait(self, timeout_s: float | None) -> Ready:
        """Return the descriptors that are ready, after at most `timeout_s` seconds, rounded up to milliseconds (None:
        no limit); see `Poller.wait`.
        """
        return self._poll.poll(None if timeout_s is None else timeout_s * 1000)

    def close_in_child(self) -> None:
        """Called in a forked child process: forget all descriptors in the child; the parent's list stays as it is."""
        self.close()

    def close(self) -> None:
        """Forget all descriptors."""
        self._poll = select.poll()
