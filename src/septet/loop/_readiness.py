"""What the three loops share: asyncio's selector loop with a straight way from the poller to a callback.

asyncio turns each event into a SelectorKey, looks up a Handle, queues it, and runs it in a context:
about as expensive as the `recv` that follows. A descriptor registered with `watch` skips all that: its
callback is called while the poller's list is gone through. Everything else (tasks, timers, transports,
TLS, subprocesses, signals) is asyncio's own code, which does not notice.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any, TypeVarTuple, cast

from septet.loop._interest import Interest, Watcher
from septet.pollers import READABLE, WRITABLE, Poller, Ready

# asyncio receives 256 KiB at a time. From 128 KiB glibc maps and unmaps such a block on every call
# (M_MMAP_THRESHOLD in mallopt(3)), which costs more than the rest of the loop.
RECEIVE_SIZE = 64 * 1024

Ts = TypeVarTuple("Ts")


class ReadinessLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop over a poller, with `watch`, `rewatch` and `unwatch` beside asyncio's interface.

    Like every asyncio loop it belongs to one thread; only `call_soon_threadsafe` may come from another.
    It also belongs to the process that made it: a forked child that runs it gets a RuntimeError, and
    closing it there leaves the parent's untouched.
    """

    _ssock: socket.socket | None
    _csock: socket.socket | None

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._pid = os.getpid()
        self._interest = Interest(poller, self._ensure_self_pipe)
        super().__init__(self._interest)

    # -- the three verbs

    def watch(self, fd: int, mask: int, callback: Watcher) -> None:
        """Call `callback(ready)` whenever `fd` is ready for `mask`, straight from the poller.

        Level-triggered. An exception in the callback goes to the loop's exception handler; the loop and the
        watch live on. The callback runs in the context in which the loop itself was started.

        Raises:
            RuntimeError: `fd` is watched already, by this or by add_reader, add_writer or a transport.
        """
        self._interest.watch(fd, mask, callback)

    def rewatch(self, fd: int, mask: int) -> None:
        """Wait for other events of a watched `fd`. With 0 only ERROR and HANGUP remain, as poll(2) has it."""
        self._interest.rewatch(fd, mask)

    def unwatch(self, fd: int) -> bool:
        """Stop watching; to be called before `fd` is closed. False if it was not watched."""
        return self._interest.unwatch(fd)

    # -- dispatch

    def _process_events(self, event_list: Ready) -> None:
        """Called by asyncio's `_run_once` with what select() returned.

        A callback may close a descriptor, and the next one be given its number by accept(2), while an event of
        the old one is still in the list. What was added or changed during this round therefore has no event in
        it; readiness is a level, so an event that is left out comes again.
        """
        watchers, changed = self._interest.watchers, self._interest.changed
        changed.clear()
        for fd, mask in event_list:
            if fd in changed:
                continue
            callback = watchers.get(fd)
            if callback is None:
                self._queue_handles(fd, mask)
                continue
            try:
                callback(mask)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._report(exc, callback)

    def _queue_handles(self, fd: int, mask: int) -> None:
        """asyncio's own way: its reader and writer run later in this round. ERROR and HANGUP wake both."""
        key = self._interest.keys.get(fd)
        if key is None:
            return  # removed by a callback of this round
        reader, writer = key.data
        add = cast(Any, self)._add_callback
        if mask & ~WRITABLE and reader is not None:
            add(reader)
        if mask & ~READABLE and writer is not None:
            add(writer)

    def _report(self, exc: BaseException, callback: object) -> None:
        self.call_exception_handler({"message": f"Exception in callback {callback!r}", "exception": exc})

    # -- asyncio's seams

    def _make_socket_transport(self, *args: Any, **kwargs: Any) -> asyncio.Transport:
        transport = cast(Any, super())._make_socket_transport(*args, **kwargs)
        transport.max_size = RECEIVE_SIZE
        return cast(asyncio.Transport, transport)

    def _make_self_pipe(self) -> None:
        """Promise the pipe by which other threads and signals wake the loop; it is made when it is needed.

        A blocking model makes a private loop per thread that hardly ever waits for anything, and the pipe
        is two thirds of the cost of making and closing a loop.
        """
        self._ssock = self._csock = None
        self._internal_fds = 1

    def _ensure_self_pipe(self) -> bool:
        """Make the pipe; True if the loop may block then.

        call_soon_threadsafe in another thread appends to `_ready` and then looks for the pipe; here the pipe
        is made first and `_ready` looked at then. In whichever order the two run, one of them sees the other.
        """
        if self._csock is None:
            self._internal_fds = 0
            cast(Any, super())._make_self_pipe()
        return not cast(Any, self)._ready

    def _close_self_pipe(self) -> None:
        if self._csock is None:
            self._internal_fds = 0
        else:
            cast(Any, super())._close_self_pipe()

    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """As in asyncio: call `callback` in the loop when `sig` arrives. In the main thread only."""
        self._ensure_self_pipe()
        super().add_signal_handler(sig, callback, *args)

    def run_forever(self) -> None:
        """Run until stop() is called, as in asyncio.

        Raises:
            RuntimeError: in a forked child, which shares the loop's descriptors with its parent.
        """
        if os.getpid() != self._pid:
            raise RuntimeError(f"this event loop belongs to process {self._pid}: make a new one after fork()")
        super().run_forever()

    async def wind_up(self) -> None:
        """Cancel all tasks but this one and close asynchronous generators: what `asyncio.run` does before it closes."""
        tasks = asyncio.all_tasks(self) - {asyncio.current_task(self)}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.shutdown_asyncgens()

    def close(self) -> None:
        """Close the loop, as in asyncio. In a forked child only its copies of the descriptors are closed."""
        if not self.is_running():
            # First, so that what asyncio removes next does not reach a kernel list shared with the parent.
            self._poller.close()
        super().close()
