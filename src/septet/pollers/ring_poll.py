"""Readiness through io_uring: the verbs of `Poller`, for code that wants to know when to call recv(2) itself.

Each descriptor has a one-shot poll request. One that completed is made again before the next wait, and
completes at once if the descriptor is still ready, which makes it level-triggered. All requests of a round
and the wait itself are one system call.
"""

import errno
from collections import deque

from septet.pollers._verbs import ERROR, HANGUP, INVALID, Ready
from septet.pollers.ring import MORE, Ring

_UNASKED = ERROR | HANGUP | INVALID


class RingPoll:
    """The poller over a `Ring`, which others may use beside it; close() closes the ring as well."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self._requests: dict[int, _Request] = {}
        self._unarmed: deque[_Request] = deque()
        self._ready: list[_Request] = []
        self._closed = False

    def add(self, fd: int, mask: int) -> None:
        """Start to report `fd`. The kernel hears of it with the next wait, so a bad descriptor is reported then.

        Raises:
            FileExistsError: it is reported already.
        """
        if fd in self._requests:
            raise FileExistsError(errno.EEXIST, f"descriptor {fd} is polled already")
        self._arm_later(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        """Report other events of `fd`.

        Raises:
            FileNotFoundError: it was not added.
        """
        request = self._requests.get(fd)
        if request is None:
            raise FileNotFoundError(errno.ENOENT, f"descriptor {fd} is not polled")
        if request.mask != mask:
            self._forget(request)
            self._arm_later(fd, mask)

    def remove(self, fd: int) -> None:
        """Report `fd` no more.

        The kernel is told at once: a poll request holds the file open, so a socket that is closed now
        would else send its FIN only with the next wait.
        """
        request = self._requests.pop(fd, None)
        if request is not None and self._forget(request) and not self._closed:
            self.ring.flush()

    def wait(self, timeout_s: float | None) -> Ready:
        """What is ready within `timeout_s` seconds (None: no limit). Callbacks of the ring's other users run."""
        self.enter(timeout_s)
        return self.collect()

    def enter(self, timeout_s: float | None) -> None:
        """The first half of `wait`: submit everything, and wait for completions; nothing is called back."""
        unarmed, poll_add = self._unarmed, self.ring.poll_add
        for _ in range(len(unarmed)):
            request = unarmed[0]
            if request.live:
                request.token = poll_add(request.fd, request.mask, request.complete, multishot=request.patient)
            del unarmed[0]
        if timeout_s != 0 or not self.ring.is_idle():  # a busy loop asks in every turn
            self.ring.enter(timeout_s)

    def collect(self) -> Ready:
        """The second half: call back the ring's other users, and tell what is ready."""
        self.ring.call_back()
        ready, self._ready = self._ready, []
        return [(request.fd, request.ready) for request in ready if request.live]

    def arm_anew(self) -> None:
        """Make every request again that an exception has kept from it."""
        self._unarmed.clear()
        self._unarmed += [request for request in self._requests.values() if not self.ring.has(request.token)]

    def close(self) -> None:
        """Cancel all requests and close the ring."""
        self._closed = True
        self.ring.close()

    def forsake(self) -> None:
        """In a forked child: leave the ring alone, which is the parent's."""
        self._closed = True
        self.ring.forsake()

    def completed(self, request: "_Request", more: bool) -> None:
        """A request has completed: report it, if it is what was asked for, and make it again before the next wait."""
        if not request.ready:
            if not more:
                self._unarmed.append(request)
            return
        if more:
            self._forget(request)
            request = request.copy()
            self._requests[request.fd] = request
        self._unarmed.append(request)
        self._ready.append(request)

    def _arm_later(self, fd: int, mask: int) -> None:
        request = self._requests[fd] = _Request(self, fd, mask)
        self._unarmed.append(request)

    def _forget(self, request: "_Request") -> bool:
        """Whether the kernel had to be told, which it is not of a request that is not made again yet."""
        request.live = False
        if not request.token or self._closed:
            return False
        self.ring.cancel(request.token)
        return True


class _Request:
    """The interest in one descriptor, from add() to remove().

    It outlives its descriptor: a completion that comes after remove() finds `live` false, even if the
    descriptor's number has a new owner by then.

    A poll request also completes when the peer has shut down its sending side (POLLRDHUP), asked for or not.
    Where that was not asked for, it would complete again and again to no purpose, as when we wait to send
    to a half-closed peer. The request is `patient` then: a multishot, which completes when something happens.
    """

    __slots__ = ("fd", "live", "mask", "patient", "poller", "ready", "token")

    def __init__(self, poller: RingPoll, fd: int, mask: int) -> None:
        self.poller = poller
        self.fd = fd
        self.mask = mask
        self.live = True
        self.patient = False
        self.token = 0  # 0: the kernel has no request of ours now
        self.ready = 0

    def copy(self) -> "_Request":
        """The same interest and news in a new request, for a multishot that is cancelled has a completion to come."""
        request = _Request(self.poller, self.fd, self.mask)
        request.ready = self.ready
        return request

    def complete(self, res: int, flags: int, data: bytes) -> None:
        if not flags & MORE:
            self.token = 0
        if self.live:
            self.ready = res & (self.mask | _UNASKED) if res >= 0 else _bits(-res)
            self.patient = res > 0 and not self.ready
            self.poller.completed(self, bool(flags & MORE))


def _bits(code: int) -> int:
    """What poll(2) would report where a poll request fails."""
    if code == errno.ECANCELED:
        return 0  # by Ring.cancel_fd of somebody else; the interest goes on
    return INVALID if code == errno.EBADF else ERROR
