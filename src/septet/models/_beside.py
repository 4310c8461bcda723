"""WSGI and ASGI applications together under poll, epoll and io_uring, where `--mount` mixes them.

ASGI applications run as tasks on the loop, in the main thread, as they do alone. A WSGI application may wait, and must
not hold up the loop, so each of its answers runs in a thread of a pool beside the loop:

      main thread   poll ─ bytes ─ task ─ task ─ poll ─ bytes ─ ...      the loop; ASGI
                                │                  ^
                                v complete request │ what is to be watched
      threads       run ─────── run ── send ───────┘                     WSGI, up to --threads at a time

If there is only a WSGI application, `_leaders` is used instead: there the application runs in the loop's own thread
until it waits, which is faster, but the loop may move to another thread, and tasks of asyncio must not move. The price
here is that each request wakes another thread.

A request is handed to the pool in the next iteration of the loop, because callbacks of its connection use the session
without the lock.
"""

import logging
import operator
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from threading import get_ident

from septet import forked
from septet.exchange import Want
from septet.loop import ReadinessLoop
from septet.models._client_connection import ClientConnection
from septet.models._member import Answering, Due, Item
from septet.models._runners import Asynchronous
from septet.processes.capacity import default_threads
from septet.protocol import ServerExchange
from septet.service import Service
from septet.thread import ServerThread

log = logging.getLogger("septet")


class _Due(deque[Item]):
    """The queue of requests that wait for a thread. Only the thread that runs the loop adds to it."""

    def __init__(self, added: Callable[[], object]) -> None:
        super().__init__()
        self._added = added

    def __iadd__(self, items: Iterable[Item]) -> "_Due":
        """Add requests, and have the loop hand them to threads. Connections add requests only in this way."""
        self.extend(items)
        self._added()
        return self


class Beside(Asynchronous):
    """Runs a loop with the tasks of ASGI applications, and WSGI applications in threads beside it.

    Made and run by the main thread. `done`: called on the loop after an answer if the order to stop has come, because
    that answer may have been the last one.
    """

    def __init__(
        self, loop: ReadinessLoop, service: Service, repair: Callable[[], None], done: Callable[[], None]
    ) -> None:
        super().__init__(loop, service.stop, repair)
        # In no context of a request: threads may be started there, which then have that context (Python 3.14).
        self.due: Due = _Due(lambda: loop.call_soon(self._hand_out, context=service.context.copy()))
        self._stop = service.stop
        self._done = done
        self._exhaustion = service.exhaustion
        self.limit = service.threads or default_threads()
        """Most threads of the pool."""
        self._loop_thread = get_ident()
        self._jobs: SimpleQueue[Item | None] = SimpleQueue()
        """The queue of requests for the threads to answer. A thread that takes None from it ends."""
        self._threads = 0
        """Number of threads that were started. Changed in the loop's thread alone."""
        self._pending: dict[int, Item] = {}
        """Requests that wait in `_jobs` or are being answered, by `id`, because two of a connection may be equal."""

    @property
    def busy(self) -> bool:  # type: ignore[override]
        return bool(self._pending or self.due)

    def requests(self) -> int:
        """Return how many requests run in a thread, or wait for one."""
        return len(self._pending) + len(self.due)

    def leads(self) -> bool:
        return get_ident() == self._loop_thread

    def wait_for_room(self, connection: Answering, timeout_s: float | None) -> None:
        connection.await_room(timeout_s)

    def end(self) -> None:
        super().end()
        if not self._stop.has_signals:  # the program goes on. In a process that ends now, threads rather keep waiting
            for _ in range(self._threads):
                self._jobs.put(None)

    # In the loop's thread

    def _hand_out(self) -> None:
        """Give the requests in `due` to threads, and start another thread if all of them are busy."""
        while self.due:
            item = self.due.popleft()
            try:
                self._pending[id(item)] = item
                if self._threads < min(self.limit, len(self._pending)):
                    self._start()
                self._jobs.put(item)
            except BaseException:  # a signal handler of the application's may raise anywhere
                self._give_up(item)
                raise

    def _start(self) -> None:
        """Start a thread of the pool. If the system gives none, log that, and raise RuntimeError or MemoryError if the
        pool has no thread at all.
        """
        self._threads += 1
        try:
            ServerThread(self._work, f"septet-{self._threads}").start()
        except (RuntimeError, MemoryError) as error:
            self._threads -= 1
            self._exhaustion.report(f"cannot start a thread: {error}")
            if not self._threads:
                raise

    # In a thread of the pool

    def _work(self) -> None:
        """Answer one request after the other, in a thread of the pool. If another thread raises an exception in this
        one (PyThreadState_SetAsyncExc), the connection of the request that is being answered is closed without a whole
        answer, and the thread goes on.
        """
        item: Item | None = None
        failure: BaseException | None = None
        while True:
            try:
                if failure is not None:
                    self._recover(failure, item)
                    failure = item = None
                item = self._jobs.get()
                if item is None:
                    return
                item[0].answer(item[1], operator.call)
                self._pending.pop(id(item), None)
                item = None  # no memory of the request is held while the thread waits
                self._check_done()
            except BaseException as error:
                failure = error  # no call here, for another exception could interrupt it: the next round handles it

    def _recover(self, failure: BaseException, item: Item | None) -> None:
        if forked.by_application:
            forked.exit_child(failure)
        log.error("a thread failed, and goes on", exc_info=failure)
        if item is not None:
            self._give_up(item)
        self._check_done()

    def _give_up(self, item: Item) -> None:
        """Close the connection of a request that will not be answered, or not to the end."""
        item[0].abandon()
        self._pending.pop(id(item), None)

    def _check_done(self) -> None:
        """Have the loop check whether this was the last answer, if the order to stop has come."""
        if self._stop.ordered:
            try:
                self._loop.call_soon_threadsafe(self._done)
            except RuntimeError:
                pass  # the loop was closed while the application ran: the time for a graceful stop was up


class BesideConnection(ClientConnection):
    """A client whose requests may be for a WSGI or for an ASGI application. Its next request begins on the loop's
    thread, even if a thread of the pool has sent the end of the last answer.
    """

    __slots__ = ()

    def dispatch(self, exchange: ServerExchange) -> Want | None:
        if self._answering or self.reactor.runner.leads():
            return super().dispatch(exchange)
        self.reactor.call_on_loop(self._resume)
        return None
