"""The loop's schedule: when callbacks of `call_soon`, of the poller and of timers run.

`Schedule` is asyncio's selector loop with those methods replaced that run for every callback and every event:
`call_soon`, `call_at` and `_run_once`. Everything else is asyncio's code. This is what the replacement keeps, what it
changes, and why.

**One turn** (`_run_once`) asks the poller once, and then runs callbacks in this order:

    1. poller.wait(timeout)     0 if a callback is ready; else until the first timer is due; else without limit
    2. ready callbacks          those that were in the queue when the poller had answered, in their order
    3. events                   what the poller reported, in its order
    4. due timers               by time; timers of one instant in the order in which they were set

Callbacks that are queued during 2, 3 and 4 run in the next turn, so that a chain of `call_soon` cannot keep events and
timers waiting. Which timers are due is decided before step 2: a timer that is set by a callback of this turn never
precedes what was ready before it, however short its delay.

This is asyncio's order. It is documented nowhere, and programs depend on it: a task that `data_received` wakes must not
run before other events of the same turn, and a time-out must not win against data that arrived before it. asyncio
queues a Handle for each event and each due timer; the order follows from the queue. Here the steps are the order.

**Events are dispatched without a Handle.** For each event asyncio makes a SelectorKey, looks up a Handle, appends it to
the queue, removes it, and runs it in a context. That costs about as much as the recv(2) that follows. Here step 3 calls
`_process_events`, which calls the watcher of each descriptor. A watcher runs in the context in which the loop was
started; transports run their protocol in a context of their own.

**Handles are made without questions.** asyncio's `call_soon` checks on each call whether the loop is closed and whether
it debugs, and so does `Handle.__init__`. Here one check chooses between asyncio's own slow path, which has all of
its checks and keeps the traceback, and a Handle whose fields `call_soon` and `call_at` set themselves: a class without
an `__init__` in Python is made in a third of the time. A closed loop takes the slow path, too, and raises there.

**Timers are tuples** `(when, number, handle)` in a heap. Tuples compare in C; asyncio's heap of TimerHandles calls
`__lt__`, a Python method, about twenty times for one timer of a million. The number decides between equal times, so
that handles are never compared. A cancelled timer stays in the heap until it is due or until more than half of the
heap is cancelled, as in asyncio: most timers are time-outs that are cancelled long before they are due. If many are due
at once, the heap is sorted and its beginning cut off, which takes fewer comparisons, and nearer ones in memory, than
to pop each.

**When a callback raises.** An Exception goes to the exception handler, and the turn goes on. SystemExit and
KeyboardInterrupt leave the turn at once. What it had not run yet is run by the next turn, if there is one: ready
callbacks are still in the queue, and due timers are put at its front. Events are reported again, because pollers are
level-triggered, and a ring keeps the completions that it has not called back yet. An exception that a signal handler
has raised in the loop's own code loses no callback either (`_interruption.py`).

**Waking a blocked loop.** `call_soon_threadsafe` appends to the queue and writes to the loop's self-pipe. A loop that
never blocks needs no pipe, so it is made before the first wait that may block (`_readiness.py`, `_ensure_self_pipe`).

**Debug mode** uses asyncio's Handles and times each callback; both are in the branches that say so.
"""

import asyncio
import logging
from asyncio import base_events, format_helpers
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from errno import ENOMEM
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic, sleep
from typing import Any, TypeVar, TypeVarTuple, cast

from septet.loop._interest import Interest
from septet.loop._interruption import resume_interrupted
from septet.pollers import Ready

log = logging.getLogger("asyncio")
format_handle: Any = base_events._format_handle  # type: ignore[attr-defined]

MAX_WAIT_S = 24 * 3600.0
"""Seconds. Longest wait of the poller, as in asyncio: some systems refuse longer time-outs."""

MIN_CANCELLED_TIMERS = 100
"""Cancelled timers are removed from the heap if they are more than this, and more than half of all, as in asyncio."""

MANY_DUE = 16
"""If more timers are due than this number and a sixteenth of all, the heap is sorted. To sort a heap of 100,000 takes
half as long for each timer as to pop them all, and to sort one that is sorted takes a twelfth.
"""

SHORTAGE_S = 0.01
"""Seconds that the loop pauses, before it goes on, after its own code (not a callback) has failed for lack of memory.
"""

EPISODE_S = 10.0
"""Seconds. A lack of memory that follows the one before it within this time belongs to the same episode, and is not
reported.
"""

Ts = TypeVarTuple("Ts")
Callback = Callable[..., object]
AnyHandle = TypeVar("AnyHandle", bound=asyncio.Handle)


class SoonHandle(asyncio.Handle):
    """An asyncio.Handle made without arguments. `call_soon` sets its fields itself, which saves the call of a Python
    `__init__`, half of what a Handle costs. Only for a loop that is not in debug mode.
    """

    __slots__ = ()

    __init__: Any = object.__init__
    _source_traceback = None


class LaterHandle(asyncio.TimerHandle):
    """An asyncio.TimerHandle made without arguments; `call_at` sets its fields as `call_soon` does."""

    __slots__ = ()

    __init__: Any = object.__init__
    _source_traceback = None


def _trim_traceback(handle: AnyHandle) -> AnyHandle:
    """In debug mode, remove our own frame from the traceback that says where the handle was made."""
    if handle._source_traceback:  # type: ignore[attr-defined]
        del handle._source_traceback[-1]  # type: ignore[attr-defined]
    return handle


class Schedule(asyncio.SelectorEventLoop):
    """asyncio's selector loop, with its own rules for when callbacks run. A subclass dispatches events in
    `_process_events`.
    """

    # asyncio's attributes, which typeshed does not declare.
    _ready: deque[asyncio.Handle]
    _closed: bool = True  # until asyncio's __init__ has set it: __del__ reads it
    _stopping: bool
    _debug: bool
    _clock_resolution: float
    _timer_cancelled_count: int
    _current_handle: asyncio.Handle | None
    _process_events: Callable[[Any], None]

    failed: Callable[[], None] | None = None
    """Called after a callback or a watcher has raised, before the exception handler: the server then looks for work
    that the callback has left undone. None: nothing is called. The exception handler cannot serve for this, because the
    application may replace it.
    """

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._next_number = count().__next__
        super().__init__(interest)
        self._scheduled: list[tuple[float, int, asyncio.TimerHandle]] = []
        """A heap of (when, number, timer). The number keeps timers of one instant in the order of setting."""
        self._lacked_memory_at = float("-inf")
        """When the loop's own code last failed for lack of memory, on the clock of `time`."""

    # -- what asyncio's users call

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As in asyncio: call `callback` in the loop's next iteration."""
        if self._closed or self._debug:
            return _trim_traceback(super().call_soon(callback, *args, context=context))
        handle: Any
        try:
            handle = SoonHandle()
            handle._callback = callback
            handle._args = args
            handle._context = copy_context() if context is None else context
            handle._cancelled = False
            handle._loop = self
            handle._repr = None
            self._ready.append(handle)
        except Exception:  # a Future whose call_soon raises forgets its waiters, and the task waits for ever
            sleep(SHORTAGE_S)
            handle = asyncio.Handle(callback, args, self, context)
            self._ready.append(handle)
        return handle  # type: ignore[no-any-return]

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As in asyncio: call `callback` after `delay` seconds."""
        if delay is None:
            raise TypeError("delay must not be None")
        timer = self.call_at(self.time() + delay, callback, *args, context=context)
        return _trim_traceback(timer) if self._debug else timer

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As in asyncio: call `callback` when `time()` has reached `when`."""
        if when is None:
            raise TypeError("when cannot be None")
        timer: Any
        if self._closed or self._debug:
            timer = _trim_traceback(self._debug_timer(when, callback, args, context))
        else:
            timer = LaterHandle()
            timer._when = when
            timer._callback = callback
            timer._args = args
            timer._context = copy_context() if context is None else context
            timer._cancelled = False
            timer._loop = self
            timer._repr = None
            timer._scheduled = True
        heappush(self._scheduled, (when, self._next_number(), timer))
        return timer  # type: ignore[no-any-return]

    def _debug_timer(
        self, when: float, callback: Callback, args: tuple[Any, ...], context: Context | None
    ) -> asyncio.TimerHandle:
        """asyncio's TimerHandle with its checks, for debug mode."""
        checks = cast(Any, self)
        checks._check_closed()
        checks._check_thread()
        checks._check_callback(callback, "call_at")
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]
        return _trim_traceback(timer)

    # -- one turn

    def _run_once(self) -> None:
        """Run one iteration of the loop, called a turn here: ask the poller; then run ready callbacks, events and due
        timers, in this order (see the module's top).
        """
        try:
            ready, timers, interest = self._ready, self._scheduled, self._interest
            if interest.changed:
                interest.changed.clear()
            if ready or self._stopping:
                events = interest.wait(0)
            else:
                events = interest.wait(self._seconds_to_first_timer() if timers else None)
            if timers and timers[0][0] < self.time() + self._clock_resolution:
                self._run_with_timers(events)
                return
            if ready:
                self._run_ready(len(ready))
            if events:
                self._process_events(events)
        except (MemoryError, OSError) as exc:  # our own: what callbacks raise is handled where they are called
            if not isinstance(exc, MemoryError) and (type(exc) is not OSError or exc.errno != ENOMEM):
                raise
            self._lack_memory(exc)

    def _lack_memory(self, exc: BaseException) -> None:
        """Report that memory is lacking, unless that was so less than EPISODE_S ago, and pause for SHORTAGE_S. What
        this iteration of the loop has not done is done in the next one, so no event is lost.
        """
        self.tell_failed()
        now, last = self.time(), self._lacked_memory_at
        self._lacked_memory_at = now
        if now - last > EPISODE_S:
            self.call_exception_handler({"message": "The event loop lacks memory, and goes on", "exception": exc})
        sleep(SHORTAGE_S)

    turn = _run_once
    """Run one iteration of the loop in the calling thread, without setting asyncio's running loop.

    For a server whose threads run the loop alternately: never two at once, and not while `run_forever` runs. Code that
    is called from here sees no running loop, and may start one of its own.
    """

    def _run_with_timers(self, events: Ready) -> None:
        """Finish an iteration in which timers are due: run ready callbacks, events and due timers.

        The due timers are taken from the heap first: one that is set by a callback of this iteration must wait for the
        next.
        """
        due = self._take_due()
        try:
            self._run_ready(len(self._ready))
            if events:
                self._process_events(events)
        finally:
            # At the front, before what was queued in this turn. In the queue, so that KeyboardInterrupt loses none.
            self._ready.extendleft(due[::-1])
        self._run_ready(len(due))

    def _run_ready(self, count: int) -> None:
        """Run the first `count` callbacks in the queue; those that they add run in the next iteration.

        Each is taken from the queue by index, without calling a method: Python runs signal handlers at calls, and an
        exception raised there would lose the callback.
        """
        if self._debug:
            self._run_ready_timed(count)
            return
        ready = self._ready
        handle: Any = None
        for _ in range(count):
            handle = ready[0]
            del ready[0]
            if handle._cancelled:
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt) as exc:
                resume_interrupted(self, exc, handle)
                raise
            except BaseException as exc:
                self._handle_failed(handle, exc)
        handle = None  # no reference cycle through the traceback of an exception

    def _handle_failed(self, handle: Any, exc: BaseException) -> None:
        """Report an exception of a callback as asyncio's Handle does."""
        resume_interrupted(self, exc, handle)
        self.tell_failed()
        callback = format_helpers._format_callback_source(handle._callback, handle._args)
        message = f"Exception in callback {callback}"
        self.call_exception_handler({"message": message, "exception": exc, "handle": handle})

    def resume_interrupted(self, exc: BaseException) -> None:
        """Repair a `call_soon` that was interrupted by `exc`, the exception of a signal handler: queue the callback
        that it has not queued. Does nothing if `exc` has interrupted none. To be called in the loop's thread, by the
        code that has caught `exc`.
        """
        resume_interrupted(self, exc, None)

    def tell_failed(self) -> None:
        """Call the function in `failed`, if there is one, because a callback has raised."""
        if self.failed is not None:
            self.failed()

    def _run_ready_timed(self, count: int) -> None:
        for _ in range(count):
            handle = self._ready.popleft()
            if not handle._cancelled:
                self._run_handle(handle)

    def _run_handle(self, handle: asyncio.Handle) -> None:
        """Run a handle; in debug mode, log it if it takes longer than `slow_callback_duration`."""
        if self._debug:
            self._current_handle = handle
            self._timed(handle._run, handle)
            self._current_handle = None
        else:
            handle._run()

    def _timed(self, call: Callable[[], object], called: object) -> None:
        before = monotonic()
        try:
            call()
        finally:
            took = monotonic() - before
            if took >= self.slow_callback_duration:
                name = format_handle(called) if isinstance(called, asyncio.Handle) else repr(called)
                log.warning("Executing %s took %.3f seconds", name, took)

    # -- timers

    def _seconds_to_first_timer(self) -> float | None:
        """Seconds until the first timer is due, 0 if it is overdue, None if all timers are cancelled."""
        timers = self._scheduled
        while timers[0][2]._cancelled:
            self._timer_cancelled_count -= 1
            heappop(timers)[2]._scheduled = False  # type: ignore[attr-defined]
            if not timers:
                return None
        left = timers[0][0] - self.time()
        return 0 if left < 0 else left if left < MAX_WAIT_S else MAX_WAIT_S

    def _take_due(self) -> list[asyncio.Handle]:
        """Remove the timers that are due from the heap, and return them in their order."""
        timers = self._scheduled
        now = self.time() + self._clock_resolution
        due: list[asyncio.Handle] = []
        to_pop = MANY_DUE + len(timers) // MANY_DUE
        try:
            while timers and timers[0][0] < now:
                if not to_pop:
                    self._take_many_due(now, due)
                    break
                to_pop -= 1
                # In the list before it is off the heap, and without a call: a signal handler's exception loses none.
                timer = timers[0][2]
                if timer._cancelled:
                    self._timer_cancelled_count -= 1
                else:
                    due += (timer,)
                timer._scheduled = False  # type: ignore[attr-defined]
                heappop(timers)
        except BaseException:
            self._ready += due
            raise
        return due

    def _take_many_due(self, now: float, due: list[asyncio.Handle]) -> None:
        """Remove all timers before the time `now` from the heap, and append them to `due`: sort the heap, which makes
        it no less a heap, and cut off its beginning.
        """
        timers = self._scheduled
        timers.sort()
        many = bisect_left(timers, (now,))  # a tuple sorts before the longer ones that begin as it does
        try:
            for _, _, timer in timers[:many]:
                if timer._cancelled:
                    self._timer_cancelled_count -= 1
                else:
                    due += (timer,)
                timer._scheduled = False  # type: ignore[attr-defined]
        except BaseException:  # a signal handler has raised between two timers
            while timers and not timers[0][2]._scheduled:  # type: ignore[attr-defined]
                heappop(timers)
            raise
        del timers[:many]

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by asyncio when a timer is cancelled. Removes all cancelled timers from the heap once there are more
        than MIN_CANCELLED_TIMERS of them and they are more than half of the heap.
        """
        if not handle._scheduled:  # type: ignore[attr-defined]
            return
        self._timer_cancelled_count += 1
        if self._timer_cancelled_count > MIN_CANCELLED_TIMERS and self._timer_cancelled_count * 2 > len(
            self._scheduled
        ):
            # In place, because `_run_once` refers to the list. `handle` is marked as cancelled after this call.
            self._scheduled[:] = [
                entry for entry in self._scheduled if not entry[2]._cancelled and entry[2] is not handle
            ]
            handle._scheduled = False  # type: ignore[attr-defined]
            heapify(self._scheduled)
            self._timer_cancelled_count = 0
