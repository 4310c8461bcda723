"""The loop's interest list: which descriptors it watches, over one poller; some for asyncio's code, the others for
`watch`.

asyncio sees this as its selector. It registers a pair of Handles (reader, writer) per descriptor; this class stores
them and informs the poller. Its select() returns the poller's own pairs (fd, mask), which the loop dispatches itself,
instead of a SelectorKey and a tuple for every event.
"""

import selectors
from collections.abc import Callable, Mapping
from typing import Any

from septet import forked
from septet.loop._metrics import Meter, Wait
from septet.pollers import READABLE, WRITABLE, Poller, Ready

Watcher = Callable[[int], object]
"""The callback of a descriptor: called with the event bits that are set (READABLE, WRITABLE, ERROR, HANGUP)."""


class Interest(selectors.BaseSelector):
    """The watched descriptors, each either registered by asyncio (in `keys`) or by `watch` (in `watchers`).

    `before_blocking` is called once, before the first wait that may block, so that the loop can make what other threads
    wake it with. If it returns False, because a callback is ready meanwhile, that wait does not block.
    """

    def __init__(self, poller: Poller, before_blocking: Callable[[], bool]) -> None:
        self.keys: dict[int, selectors.SelectorKey] = {}
        self.watchers: dict[int, Watcher] = {}
        self.changed: set[int] = set()
        """Descriptors that were added or changed since the loop last called the poller's wait. Events that this wait
        reported for them are skipped, because they may be about a closed file that had the same number.
        """
        self._poller = poller
        self._map = _KeyMap(self)
        self._before_blocking = before_blocking
        self.meter: Meter | None = None
        self._poll: Wait = self._first_wait
        self.wait: Wait = self._poll
        """`wait(timeout_s)` returns the poller's pairs (fd, mask), after at most that many seconds (None: no limit)."""

    def _first_wait(self, timeout_s: float | None) -> Ready:
        if timeout_s == 0:
            return self._poller.wait(0)
        self._poll = self._poller.wait
        self.wait = self._poll if self.meter is None else self.meter.around(self._poll)
        return self._poll(timeout_s if self._before_blocking() else 0)

    def measure(self) -> Meter:
        """Return the `Meter` that counts and times the loop's waits. The first call makes it, and counting starts."""
        if self.meter is None:
            self.meter = Meter()
            self.wait = self.meter.around(self._poll)
        return self.meter

    def select(self, timeout: float | None = None) -> Ready:  # type: ignore[override]
        """As in `selectors.BaseSelector`, but returns the pairs of `wait`."""
        return self.wait(timeout)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Add a descriptor, as in `selectors.BaseSelector`."""
        fd = _descriptor(fileobj)
        self._check_free(fd)
        self._add(fd, _mask(events))
        key = self.keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def watch(self, fd: int, mask: int, watcher: Watcher) -> None:
        """Add a descriptor, for whose events `watcher` is called; `mask`: READABLE, WRITABLE or both. If this raises,
        nothing has changed.

        Raises:
            RuntimeError: the descriptor is watched already.
            OSError: the poller refuses it.
        """
        if fd in self.watchers or fd in self.keys:
            self._check_free(fd)
        self.watchers[fd] = watcher  # first: whatever interrupts the rest, the two lists agree
        try:
            self.changed.add(fd)
            self._poller.add(fd, mask)
        except BaseException:
            self._poller.remove(fd)  # the exception may have come when it was added already
            del self.watchers[fd]
            raise

    def rewatch(self, fd: int, mask: int) -> None:
        """Change the events of a descriptor that was added with `watch`."""
        self._poller.modify(fd, mask)
        self.changed.add(fd)

    def unwatch(self, fd: int) -> bool:
        """Remove a descriptor that was added with `watch`; False if there is none."""
        if fd not in self.watchers:
            return False
        self._poller.remove(fd)
        self.watchers.pop(fd, None)  # last: if an exception has come before, the caller can do it again
        return True

    def _check_free(self, fd: int) -> None:
        if fd in self.watchers or fd in self.keys:
            raise RuntimeError(f"file descriptor {fd} is watched already")

    def _add(self, fd: int, mask: int) -> None:
        self.changed.add(fd)
        try:
            self._poller.add(fd, mask)
        except BaseException:  # a signal handler may have raised just after it was added
            self._poller.remove(fd)
            raise

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Remove a descriptor, which may be closed already, as in `selectors.BaseSelector`."""
        key = self.keys.pop(self.find(fileobj))
        self._poller.remove(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Change events and data, as in `selectors.BaseSelector`. Makes no system call if the events are the same."""
        old = self.keys[self.find(fileobj)]
        if events != old.events:
            self._poller.modify(old.fd, _mask(events))
        key = self.keys[old.fd] = selectors.SelectorKey(old.fileobj, old.fd, events, data)
        return key

    def find(self, fileobj: Any) -> int:
        """Return the descriptor number of `fileobj`, which may be closed already; KeyError if it is not registered."""
        try:
            fd = _descriptor(fileobj)
        except ValueError:
            # A closed socket has lost its number, but users of asyncio call remove_reader(closed_socket).
            fd = next((key.fd for key in self.keys.values() if key.fileobj is fileobj), -1)
        if fd not in self.keys:
            raise KeyError(f"{fileobj!r} is not registered")
        return fd

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return the registrations by file object or number."""
        return self._map

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return the registration of one file object or number; KeyError if there is none."""
        return self.keys[self.find(fileobj)]

    def close_in_child(self) -> None:
        """In a forked child: forget all descriptors and refuse to wait. The parent's poller is not changed."""
        self.keys.clear()
        self.watchers.clear()
        self._poller.close_in_child()
        self.wait = self._poll = _refuse

    def close(self) -> None:
        """Close the poller."""
        self.keys.clear()
        self.watchers.clear()
        self._poller.close()


def _refuse(timeout_s: float | None) -> Ready:
    error = RuntimeError("this event loop belongs to the process that has forked this one")
    if forked.by_application:  # a child of the application's, which would return into the server
        forked.exit_child(error)
    raise error


class _KeyMap(Mapping[Any, selectors.SelectorKey]):
    """The result of get_map(): a view that accepts file objects as well as numbers."""

    def __init__(self, interest: Interest) -> None:
        self._interest = interest

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        return self._interest.get_key(fileobj)

    def __len__(self) -> int:
        return len(self._interest.keys)

    def __iter__(self) -> Any:
        return iter(self._interest.keys)


def _descriptor(fileobj: Any) -> int:
    fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
    if not isinstance(fd, int) or fd < 0:
        raise ValueError(f"invalid file descriptor of {fileobj!r}")
    return fd


def _mask(events: int) -> int:
    """Convert bits of `selectors` (EVENT_READ 1, EVENT_WRITE 2) to those of poll(2) (POLLIN 1, POLLOUT 4)."""
    return (READABLE if events & selectors.EVENT_READ else 0) | (WRITABLE if events & selectors.EVENT_WRITE else 0)
