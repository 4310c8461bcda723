"""The base class of the three loops: asyncio's interface, and `watch`, which calls back directly from the poller.

For each event asyncio makes a SelectorKey, looks up a Handle, queues it, and runs it in a context, which costs about as
much as the recv(2) that follows. The callback of a descriptor that is registered with `watch` is called while the
poller's list is processed. Our stream transports, listeners and reading pipes use `watch`. The rest is asyncio's
own code, which uses Handles: datagrams, writing pipes, the sending sock_* methods, TLS, subprocesses, signals, servers.
"""

import asyncio
import concurrent.futures
import os
import signal
import socket
import sys
from asyncio import constants, selector_events, sslproto
from collections import deque
from collections.abc import Callable, MutableMapping
from concurrent.futures import Executor
from functools import cache, cached_property, partial
from ssl import SSLContext
from typing import Any, TypeVar, TypeVarTuple, cast
from weakref import WeakSet

from septet import forked
from septet.loop._connection import StreamConnection, TransportsByDescriptor, set_nodelay
from septet.loop._interest import Interest, Watcher
from septet.loop._metrics import Metrics
from septet.loop._pipe import ReadPipeTransport, WritePipeTransport
from septet.loop._serving import Factory, StreamAcceptor
from septet.loop._socket_calls import SocketCalls
from septet.loop._stream import RECEIVE_SIZE, StreamTransport
from septet.pollers import READABLE, WRITABLE, Epoll, Poll, Poller, Ready

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_loops: "WeakSet[ReadinessLoop]" = WeakSet()

WIND_UP_TIMEOUT_S = 5.0
"""Seconds that `wind_up` waits for cancelled tasks to end."""


class DatagramTransport(selector_events._SelectorDatagramTransport):  # type: ignore[name-defined,misc]
    """asyncio's own, with a receive buffer of 64 KiB for IP, which holds every datagram and costs less to allocate.

    A datagram on a unix socket may be as long as its sender's buffer, so asyncio's 256 KiB are kept there.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            self.max_size = RECEIVE_SIZE
        super().__init__(loop, sock, *args, **kwargs)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        self._loop._transports.pop(self._sock_fd, None)
        super()._call_connection_lost(exc)


def _run_in_thread(pid: int, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Call `function` in a thread of an executor of the loop of process `pid`, and end a child that comes back."""
    try:
        result = function(*arguments)
    except BaseException as error:
        if forked.by_application and os.getpid() != pid:
            forked.exit_child(error)
        raise
    if forked.by_application and os.getpid() != pid:
        forked.exit_child()
    return result


def _have_children_watched() -> None:
    """Before Python 3.14, asyncio's loops ask the event loop policy who waits for a subprocess. That of uvloop, which
    applications set by `uvloop.install`, knows nobody, because uvloop's own loop needs nobody: it is given asyncio's
    usual watcher.
    """
    if sys.version_info < (3, 14):
        policy = asyncio.get_event_loop_policy()
        if type(policy).get_child_watcher is asyncio.AbstractEventLoopPolicy.get_child_watcher:
            watcher = asyncio.ThreadedChildWatcher()
            vars(policy).setdefault("get_child_watcher", lambda: watcher)


class ReadinessLoop(SocketCalls):
    """An asyncio event loop over a poller, with `watch`, `rewatch` and `unwatch` beside asyncio's interface.

    Like every asyncio loop it belongs to one thread; only `call_soon_threadsafe` may be called from another one.
    It belongs to the process that made it: running it in a forked child raises RuntimeError, and closing it there
    does not affect the parent's loop.
    """

    _transports: MutableMapping[int, StreamConnection]
    _ssock: socket.socket | None
    _csock: socket.socket | None

    @cached_property
    def receive_buffer(self) -> memoryview:
        """64 KiB for data that a callback receives and copies before it calls anything else: the callbacks of one loop
        run one after the other, so one buffer is enough for it. Loops must not share one, because several may run in
        threads of one process."""
        return memoryview(bytearray(RECEIVE_SIZE))

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._pid = os.getpid()
        super().__init__(Interest(poller, self._ensure_self_pipe))
        self._transports = TransportsByDescriptor()
        _loops.add(self)
        _close_in_children()

    # -- the three verbs

    def watch(self, fd: int, mask: int, callback: Watcher) -> None:
        """Call `callback(ready)` whenever `fd` is ready for `mask`, directly from the poller.

        Level-triggered: it is called in each turn of the loop as long as `fd` is ready. An exception in the callback
        goes to the loop's exception handler, and `fd` stays watched. The callback runs in the context in which the loop
        was started.

        Args:
            mask: READABLE, WRITABLE or both, of `septet.pollers`.
            callback: called with the bits that are set, ERROR and HANGUP included.

        Raises:
            RuntimeError: `fd` is watched already, by this or by add_reader, add_writer or a transport.
        """
        self._interest.watch(fd, mask, callback)

    def rewatch(self, fd: int, mask: int) -> None:
        """Replace the events for which a watched `fd` is watched. With mask 0, ERROR and HANGUP are still reported."""
        self._interest.rewatch(fd, mask)

    def unwatch(self, fd: int) -> bool:
        """Stop watching `fd`. To be called before `fd` is closed. Returns False if `fd` was not watched."""
        return self._interest.unwatch(fd)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        """As in asyncio. Where a server runs the loop, a child that `func` forks and that returns from it ends there
        (see `forked`): the executor's thread would wait for its next work, which never comes.
        """
        if self._debug:
            cast(Any, self)._check_callback(func, "run_in_executor")
        if executor is None or isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            return super().run_in_executor(executor, _run_in_thread, self._pid, func, *args)
        return super().run_in_executor(executor, func, *args)

    def metrics(self) -> Metrics:
        """Return the activity of the loop since the first call of this method, which starts the counting.

        From then on, every iteration of the loop reads the clock twice more.
        """
        return self._interest.measure().read()

    def lap(self) -> Metrics:
        """Return the activity of the loop since the last call of `lap`. Only one caller, which reports at intervals,
        may use it: a second one would shorten the intervals of the first.
        """
        return self._interest.measure().lap()

    # -- dispatch

    def _process_events(self, event_list: Ready) -> None:
        """Call back for the events that the poller has reported.

        A callback may close a descriptor, and the next callback may get the same number from accept(2), while an event
        of the closed descriptor is still in the list. So events of descriptors that were added or changed since the
        poller was asked are skipped. Pollers are level-triggered: a skipped event is reported again.
        """
        watchers, changed, debug = self._interest.watchers, self._interest.changed, self._debug
        for fd, mask in event_list:
            if changed and fd in changed:
                continue
            if fd not in watchers:
                self._run_handles(fd, mask)
                continue
            callback = watchers[fd]
            try:
                if debug:
                    self._timed(partial(callback, mask), callback)
                else:
                    callback(mask)
            except (SystemExit, KeyboardInterrupt) as exc:
                self.resume_interrupted(exc)
                raise
            except BaseException as exc:
                self._report(exc, callback)

    def _run_handles(self, fd: int, mask: int) -> None:
        """Run asyncio's reader and writer of a descriptor. ERROR and HANGUP run both."""
        key = self._interest.keys.get(fd)
        if key is None:
            return  # removed by a callback of this turn
        reader, writer = key.data
        if mask & ~WRITABLE and reader is not None:
            self._run_handle(reader)
        if mask & ~READABLE and writer is not None and not writer._cancelled:
            self._run_handle(writer)

    def _report(self, exc: BaseException, callback: object) -> None:
        self.resume_interrupted(exc)
        self.tell_failed()
        self.call_exception_handler({"message": f"Exception in callback {callback!r}", "exception": exc})

    # -- what asyncio's loop calls to make transports and listeners

    def stream(
        self, sock: socket.socket, protocol: asyncio.BaseProtocol, extra: dict[str, Any] | None, server: Any
    ) -> StreamTransport:
        """Make the transport of a connected stream socket; the caller must start it with `begin` or `begin_soon`.

        Args:
            extra: asyncio's optional transport information, for get_extra_info().
            server: the asyncio.Server that accepted the connection, or None.
        """
        return StreamTransport(self, sock, protocol, extra, server)

    async def _make_subprocess_transport(self, *arguments: Any, **settings: Any) -> Any:
        _have_children_watched()
        return await cast(Any, super())._make_subprocess_transport(*arguments, **settings)

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

    def _make_write_pipe_transport(self, *args: Any, **kwargs: Any) -> WritePipeTransport:
        return WritePipeTransport(self, *args, **kwargs)

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
        """Called by asyncio to make the self-pipe, with which other threads and signals wake the loop. Does nothing:
        `_ensure_self_pipe` makes the pipe when the loop first waits.

        The pipe is two thirds of the cost of making and closing a loop, and a loop that never waits does not need it.
        """
        self._ssock = self._csock = None
        self._internal_fds = 1

    def _ensure_self_pipe(self) -> bool:
        """Make the self-pipe, if there is none. Returns True if no callback is ready, so that the loop may block.

        call_soon_threadsafe, in another thread, appends to `_ready` and then writes to the pipe if there is one. Here
        the pipe is made first and `_ready` is checked afterwards. Whichever runs first, the other one notices it.
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

    def forget_run(self) -> None:
        """Clear asyncio's record that the loop is running. A signal handler that raises just when a run ends can keep
        asyncio from doing so, and the loop could not be run again. To be called in the loop's thread, while the loop
        does not run.
        """
        asyncio._set_running_loop(None)
        cast(Any, self)._thread_id = None

    async def wind_up(self) -> None:
        """Cancel all tasks but the calling one, and close asynchronous generators, as `asyncio.run` does at its end.

        It waits at most WIND_UP_TIMEOUT_S seconds for tasks that do not end when they are cancelled.
        """
        tasks = asyncio.all_tasks(self) - {asyncio.current_task(self)}
        for task in tasks:
            task.cancel()
        if tasks:
            ended, _ = await asyncio.wait(tasks, timeout=WIND_UP_TIMEOUT_S)
            for task in ended:
                if not task.cancelled():
                    task.exception()  # retrieved, so that asyncio does not log it as never retrieved
        await self.shutdown_asyncgens()

    def close_in_child(self) -> None:
        """In a forked child: close the copies of the poller and the self-pipe, and drop all callbacks, which the parent
        will run. If the child returns into the loop, it gets a RuntimeError."""
        # Kept alive, because asyncio logs an error for each pending task that is collected.
        self._kept_alive = [
            *self._ready,
            *self._scheduled,
            *self._interest.keys.values(),
            *self._interest.watchers.values(),
        ]
        self._ready.clear()
        # What the present turn of the loop still adds is dropped: due timers are callbacks of the parent, too.
        self._ready = deque(maxlen=0)
        self._scheduled.clear()
        self._interest.close_in_child()
        if cast(Any, self)._signal_handlers:
            # It is the self-pipe, whose number may soon be that of a file. asyncio does so since Python 3.12.
            signal.set_wakeup_fd(-1)
        for sock in (self._ssock, self._csock):
            if sock is not None:
                sock.close()
        self._ssock = self._csock = None

    def close(self) -> None:
        """Close the loop, as in asyncio. In a forked child only its copies of the descriptors are closed."""
        if not self.is_running():
            # First, so that asyncio's removals do not change a kernel list that is shared with the parent.
            self._poller.close()
        super().close()


class EpollLoop(ReadinessLoop):
    """asyncio over epoll(7), for many connections; see `ReadinessLoop` for its interface."""

    def __init__(self) -> None:
        super().__init__(Epoll())


class PollLoop(ReadinessLoop):
    """asyncio over poll(2), for few descriptors, and the cheapest to make; see `ReadinessLoop` for its interface.

    It has no descriptor of its own before it first waits, and watching costs no system call.
    """

    def __init__(self) -> None:
        super().__init__(Poll())


def _close_in_child() -> None:
    for loop in list(_loops):
        loop.close_in_child()


@cache
def _close_in_children() -> None:
    """Have children close their copies of loops. Registered with the first loop: what is registered costs each fork."""
    os.register_at_fork(after_in_child=_close_in_child)
