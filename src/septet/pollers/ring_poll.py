"""Readiness through io_uring: the `Poller` interface for code that calls recv(2) itself.

Each descriptor has a one-shot poll request. A request that completed is submitted again before the next wait, and
completes at once if the descriptor is still ready; that makes the poller level-triggered. All requests of a round, and
the wait, are one system call.
"""

import errno
from collections import deque

from septet.pollers._poller import ERROR, HANGUP, INVALID, Ready
from septet.pollers.ring import MORE, Ring

_ALWAYS_REPORTED = ERROR | HANGUP | INVALID


class RingPoll:
    """A poller that waits for descriptors by a `Ring`. Other code may use the same ring for its own operations;
    `close` closes the ring.
    """

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self._requests: dict[int, _Request] = {}
        self._unarmed: deque[_Request] = deque()
        self._ready: list[_Request] = []
        self._closed = False

    def add(self, fd: int, mask: int) -> None:
        """From the next call of `wait` on, report the events of `fd`. If the descriptor is not open, `wait` reports
        INVALID.

        Raises FileExistsError if `fd` was added already.
        """
        if fd in self._requests:
            raise FileExistsError(errno.EEXIST, f"descriptor {fd} is polled already")
        self._arm_later(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        """Replace the events of interest of `fd`.

        Raises:
            FileNotFoundError: it was not added.
        """
        request = self._requests.get(fd)
        if request is None:
            raise FileNotFoundError(errno.ENOENT, f"descriptor {fd} is not polled")
        if request.mask != mask:
            self._cancel_request(request)
            self._arm_later(fd, mask)

    def remove(self, fd: int) -> None:
        """Stop reporting `fd`.

        The poll request for it in the kernel is cancelled at once, with a system call. Until then the request holds the
        file open, so if a socket were closed next, its FIN would be sent only after the next wait.
        """
        request = self._requests.get(fd)
        if request is None:
            return
        if self._cancel_request(request) and not self._closed:
            self.ring.flush()
        self._requests.pop(fd, None)  # last: if an exception has come before, the caller can do it again

    def wait(self, timeout_s: float | None) -> Ready:
        """Return the descriptors that are ready, after at most `timeout_s` seconds (None: no limit); see `Poller.wait`.
        Callbacks of other code that uses the ring run meanwhile.
        """
        self.enter(timeout_s)
        return self.collect()

    def enter(self, timeout_s: float | None) -> None:
        """The first half of `wait`: submit the poll requests of all descriptors, and wait until one or more are
        complete. No callback is called.
        """
        unarmed, poll_add = self._unarmed, self.ring.poll_add
        for _ in range(len(unarmed)):
            request = unarmed[0]
            if request.live:
                request.token = poll_add(request.fd, request.mask, request.complete, multishot=request.multishot)
            del unarmed[0]
        if timeout_s != 0 or not self.ring.is_idle():  # saves a system call in each turn of a busy loop
            self.ring.enter(timeout_s)

    def collect(self) -> Ready:
        """The second half of `wait`, after `enter`: call the callbacks of other code that uses the ring, and return
        the descriptors that are ready, with their events.
        """
        self.ring.call_back()
        if not self._ready:
            return []
        ready, self._ready = self._ready, []
        return [(request.fd, request.ready) for request in ready if request.live]

    def arm_anew(self) -> None:
        """Have the next `wait` submit every poll request that should be in the ring and is not, because an exception
        may have kept it from being submitted.
        """
        self.ring.recount()
        self._unarmed.clear()
        self._unarmed += [request for request in self._requests.values() if not self.ring.has(request.token)]

    def close(self) -> None:
        """Cancel all requests and close the ring."""
        self._closed = True
        self.ring.close()

    def close_in_child(self) -> None:
        """In a forked child: close the copy of the parent's ring."""
        self._closed = True
        self.ring.close_in_child()

    def completed(self, request: "_Request", more: bool) -> None:
        """Called when a poll request has completed: have the next `wait` report its events, if there are any, and
        submit the request again before that. `more` is True if it is a multishot request that is still in the kernel.
        """
        if not request.ready:
            if not more:
                self._unarmed.append(request)
            return
        if more:
            self._cancel_request(request)
            request = request.copy()
            self._requests[request.fd] = request
        self._unarmed.append(request)
        self._ready.append(request)

    def _arm_later(self, fd: int, mask: int) -> None:
        request = self._requests[fd] = _Request(self, fd, mask)
        self._unarmed.append(request)

    def _cancel_request(self, request: "_Request") -> bool:
        """Cancel a request. False if there is none in the kernel, because it has not been submitted (again) yet."""
        request.live = False
        if not request.token or self._closed:
            return False
        self.ring.cancel(request.token)
        return True


class _Request:
    """The interest in one descriptor, from add() to remove().

    It may outlive its descriptor: a completion that comes after remove() finds `live` false, even if the descriptor's
    number has been reused.

    A poll request also completes when the peer has shut down its sending side (POLLRDHUP), whether asked for or not. If
    that is all, as when we wait to send to a half-closed peer, a one-shot request would complete again and again. The
    next request is then `multishot`, which completes only when something new happens.
    """

    __slots__ = ("fd", "live", "mask", "multishot", "poller", "ready", "token")

    def __init__(self, poller: RingPoll, fd: int, mask: int) -> None:
        self.poller = poller
        self.fd = fd
        self.mask = mask
        self.live = True
        self.multishot = False
        self.token = 0
        """The token of the request in the kernel; 0: there is none."""
        self.ready = 0
        """The event bits that the next `wait` of the poller reports for the descriptor."""

    def copy(self) -> "_Request":
        """Return a new request for the same descriptor and events, to take the place of this one. That is needed for a
        multishot request that is cancelled, because the kernel will still report a completion for the old one.
        """
        request = _Request(self.poller, self.fd, self.mask)
        request.ready = self.ready
        return request

    def complete(self, res: int, flags: int, data: bytes) -> None:
        if not flags & MORE:
            self.token = 0
        if self.live:
            self.ready = res & (self.mask | _ALWAYS_REPORTED) if res >= 0 else _bits(-res)
            self.multishot = res > 0 and not self.ready
            self.poller.completed(self, bool(flags & MORE))


def _bits(code: int) -> int:
    """Return the event bits to report for a poll request that failed with this error number, as poll(2) would; 0:
    none."""
    if code == errno.ECANCELED:
        return 0  # by a call of Ring.cancel_fd; the descriptor is still of interest
    return INVALID if code == errno.EBADF else ERROR
