"""What the three loops share: asyncio's interface, with a straight way from the poller to a callback.

asyncio turns each event into a SelectorKey, looks up a Handle, queues it, and runs it in a context:
about as expensive as the `recv` that follows. A descriptor registered with `watch` skips all that: its
callback is called while the poller's list is gone through. Stream transports and listeners are ours and stand on
`watch`. What remains asyncio's own code (datagrams, writing pipes, sock_*, TLS, subprocesses, signals, servers) does
not notice.
"""

import asyncio
import os
import socket
from asyncio import constants, selector_events, sslproto
from collections.abc import Callable, MutableMapping
from functools import partial
from ssl import SSLContext
from typing import Any, TypeVarTuple, cast
from weakref import WeakSet

from septet.loop._connection import StreamConnection, set_nodelay
from septet.loop._interest import Interest, Watcher
from septet.loop._metrics import Metrics
from septet.loop._pipe import ReadPipeTransport
from septet.loop._serving import Factory, StreamAcceptor
from septet.loop._socket_calls import SocketCalls
from septet.loop._stream import RECEIVE_SIZE, StreamTransport
from septet.pollers import READABLE, WRITABLE, Epoll, Poll, Poller, Ready

Ts = TypeVarTuple("Ts")

_loops: "WeakSet[ReadinessLoop]" = WeakSet()

WIND_UP_TIMEOUT_S = 5.0
"""For tasks that were cancelled at the end, and do something else first."""


class DatagramTransport(selector_events._SelectorDatagramTransport):  # type: ignore[name-defined,misc]
    """asyncio's own, with a buffer that no datagram of IP fills and that costs less to allocate.

    A datagram on a unix socket may be as long as its sender's buffer; what is longer than ours would be cut.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            self.max_size = RECEIVE_SIZE
        super().__init__(loop, sock, *args, **kwargs)


class ReadinessLoop(SocketCalls):
    """An asyncio event loop over a poller, with `watch`, `rewatch` and `unwatch` beside asyncio's interface.

    Like every asyncio loop it belongs to one thread; only `call_soon_threadsafe` may come from another.
    It also belongs to the process that made it: a forked child that runs it gets a RuntimeError, and
    closing it there leaves the parent's untouched.
    """

    _transports: MutableMapping[int, StreamConnection]
    _ssock: socket.socket | None
    _csock: socket.socket | None

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._pid = os.getpid()
        super().__init__(Interest(poller, self._ensure_self_pipe))
        _loops.add(self)

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

    def metrics(self) -> Metrics:
        """How busy the loop has been since this was first called, which starts the counting.

        From then on every turn of the loop costs two more looks at the clock.
        """
        return self._interest.measure().read()

    def lap(self) -> Metrics:
        """The same since the last call of this: for one caller, who tells again and again, such as the server."""
        return self._interest.measure().lap()

    # -- dispatch

    def _process_events(self, event_list: Ready) -> None:
        """Call back for what the poller reports.

        A callback may close a descriptor, and the next one be given its number by accept(2), while an event of
        the old one is still in the list. What was added or changed since the poller was asked therefore has no event
        in it; readiness is a level, so an event that is left out comes again.
        """
        watchers, changed, debug = self._interest.watchers, self._interest.changed, self._debug
        for fd, mask in event_list:
            if changed and fd in changed:
                continue
            callback = watchers.get(fd)
            if callback is None:
                self._run_handles(fd, mask)
                continue
            try:
                if debug:
                    self._timed(partial(callback, mask), callback)
                else:
                    callback(mask)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._report(exc, callback)

    def _run_handles(self, fd: int, mask: int) -> None:
        """asyncio's reader and writer of a descriptor. ERROR and HANGUP wake both."""
        key = self._interest.keys.get(fd)
        if key is None:
            return  # removed by a callback of this round
        reader, writer = key.data
        if mask & ~WRITABLE and reader is not None:
            self._run_handle(reader)
        if mask & ~READABLE and writer is not None and not writer._cancelled:
            self._run_handle(writer)

    def _report(self, exc: BaseException, callback: object) -> None:
        self.call_exception_handler({"message": f"Exception in callback {callback!r}", "exception": exc})

    # -- asyncio's seams

    def stream(
        self, sock: socket.socket, protocol: asyncio.BaseProtocol, extra: dict[str, Any] | None, server: Any
    ) -> StreamTransport:
        """The transport for a connected stream socket; it has not begun yet."""
        return StreamTransport(self, sock, protocol, extra, server)

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: "asyncio.Future[None] | None" = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> StreamTransport:
        cast(Any, self)._ensure_fd_no_transport(sock)
        set_nodelay(sock)
        transport = self.stream(sock, protocol, extra, server)
        transport.begin_soon(waiter)
        return transport

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: SSLContext,
        waiter: "asyncio.Future[None] | None" = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        **timeouts: float | None,
    ) -> asyncio.Transport:
        make: Any = sslproto.SSLProtocol
        tls = make(self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts)
        self._make_socket_transport(rawsock, tls, extra=extra, server=server)
        return cast(asyncio.Transport, tls._app_transport)

    def _make_datagram_transport(self, sock: socket.socket, *args: Any, **kwargs: Any) -> DatagramTransport:
        cast(Any, self)._ensure_fd_no_transport(sock)
        return DatagramTransport(self, sock, *args, **kwargs)

    def _make_read_pipe_transport(self, *args: Any, **kwargs: Any) -> ReadPipeTransport:
        return ReadPipeTransport(self, *args, **kwargs)

    def _start_serving(
        self,
        protocol_factory: Factory,
        sock: socket.socket,
        sslcontext: SSLContext | None = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = constants.SSL_SHUTDOWN_TIMEOUT,
    ) -> None:
        tls = sslcontext and {
            "sslcontext": sslcontext,
            "server_side": True,
            "ssl_handshake_timeout": ssl_handshake_timeout,
            "ssl_shutdown_timeout": ssl_shutdown_timeout,
        }
        StreamAcceptor(self, sock, protocol_factory, server, backlog, tls or None).start()

    def _stop_serving(self, sock: socket.socket) -> None:
        self.unwatch(sock.fileno())
        cast(Any, super())._stop_serving(sock)  # since Python 3.13 it also removes the file of a unix socket

    def _make_self_pipe(self) -> None:
        """Promise the pipe by which other threads and signals wake the loop; it is made when it is needed.

        A loop that is made for a moment and never waits does without: the pipe is two thirds of the cost of making
        and closing a loop.
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
        if self._interest.meter is not None:
            self._interest.meter.start_turn()
        try:
            super().run_forever()
        except IndexError:
            if os.getpid() == self._pid:
                raise
            raise RuntimeError(
                f"this event loop belongs to process {self._pid}, and this one was forked in it"
            ) from None

    async def wind_up(self) -> None:
        """Cancel all tasks but this one and close asynchronous generators: what `asyncio.run` does before it closes.

        A task that does not end when it is cancelled is not waited for longer than WIND_UP_TIMEOUT_S.
        """
        tasks = asyncio.all_tasks(self) - {asyncio.current_task(self)}
        for task in tasks:
            task.cancel()
        if tasks:
            ended, _ = await asyncio.wait(tasks, timeout=WIND_UP_TIMEOUT_S)
            for task in ended:
                if not task.cancelled():
                    task.exception()  # which nobody else will ask for
        await self.shutdown_asyncgens()

    def forsake(self) -> None:
        """In a forked child: let go of what wakes the parent or changes what it waits for, and have nothing more run
        that the parent is about to run. A child that comes back to the loop gets a RuntimeError."""
        # Kept, for asyncio complains of tasks that are collected before they have come to an end.
        self._kept_alive = [
            *self._ready,
            *self._scheduled,
            *self._interest.keys.values(),
            *self._interest.watchers.values(),
        ]
        self._ready.clear()
        self._scheduled.clear()
        self._interest.forsake()
        for sock in (self._ssock, self._csock):
            if sock is not None:
                sock.close()
        self._ssock = self._csock = None

    def close(self) -> None:
        """Close the loop, as in asyncio. In a forked child only its copies of the descriptors are closed."""
        if not self.is_running():
            # First, so that what asyncio removes next does not reach a kernel list shared with the parent.
            self._poller.close()
        super().close()


class EpollLoop(ReadinessLoop):
    """The loop for many connections; see `ReadinessLoop` for its interface."""

    def __init__(self) -> None:
        super().__init__(Epoll())


class PollLoop(ReadinessLoop):
    """The loop for few descriptors, and the cheapest to make; see `ReadinessLoop` for its interface.

    It has no descriptor of its own until it first waits, and watching costs no system call.
    """

    def __init__(self) -> None:
        super().__init__(Poll())


def _forsake() -> None:
    for loop in list(_loops):
        loop.forsake()


os.register_at_fork(after_in_child=_forsake)
