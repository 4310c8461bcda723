"""When callbacks run: `call_soon`, the timers, and one turn of the loop.

This replaces the part of asyncio's loop that runs for every callback and every event. Three things make it cheaper.
A Handle is made without asking the loop, call by call, whether it debugs. Timers are ordered as tuples, which
compare in C, where asyncio's heap calls `TimerHandle.__lt__` some twenty times for one of a million. And what the
poller reports is dispatched at once, with no Handle in between. What debugging needs is in the slow branch.
"""

import asyncio
import logging
from asyncio import base_events, format_helpers
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic, sleep
from typing import Any, TypeVar, TypeVarTuple, cast

from septet.loop._interest import Interest
from septet.pollers import Ready

log = logging.getLogger("asyncio")
format_handle: Any = base_events._format_handle  # type: ignore[attr-defined]

LONGEST_WAIT_S = 24 * 3600.0
"""As in asyncio: some systems refuse to wait longer."""

FEW_CANCELLED = 100
"""As in asyncio: cancelled timers stay where they are until there are more than so many, and more than living ones."""

SHORTAGE_S = 0.01
"""Before the next turn after one for which memory was lacking."""

Ts = TypeVarTuple("Ts")
Callback = Callable[..., object]
AnyHandle = TypeVar("AnyHandle", bound=asyncio.Handle)


class SoonHandle(asyncio.Handle):
    """asyncio's Handle, made for a loop that does not debug."""

    __slots__ = ()

    def __init__(self, callback: Callback, args: tuple[Any, ...], loop: "Schedule", context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = self._source_traceback = None


class LaterHandle(asyncio.TimerHandle):
    """asyncio's TimerHandle, made for a loop that does not debug."""

    __slots__ = ()

    def __init__(
        self, when: float, callback: Callback, args: tuple[Any, ...], loop: "Schedule", context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = self._source_traceback = None
        self._when = when
        self._scheduled = True


def _told_by_caller(handle: AnyHandle) -> AnyHandle:
    """In debug mode a handle knows where it was made: there, and not in the function of ours that made it."""
    if handle._source_traceback:  # type: ignore[attr-defined]
        del handle._source_traceback[-1]  # type: ignore[attr-defined]
    return handle


class Schedule(asyncio.SelectorEventLoop):
    """asyncio's selector loop with another heart. A subclass says what to do with what the poller reports."""

    # asyncio's own, which it does not declare.
    _ready: deque[asyncio.Handle]
    _closed: bool = True  # before __init__ has come to it: asyncio's __del__ asks
    _stopping: bool
    _debug: bool
    _clock_resolution: float
    _timer_cancelled_count: int
    _current_handle: asyncio.Handle | None
    _process_events: Callable[[Any], None]

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._numbers = count().__next__
        super().__init__(interest)
        self._scheduled: list[tuple[float, int, asyncio.TimerHandle]] = []
        """A heap. The number keeps timers of one moment in the order in which they were set."""

    # -- what asyncio's users call

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As in asyncio: call `callback` in the next turn of the loop."""
        if self._closed or self._debug:
            return _told_by_caller(super().call_soon(callback, *args, context=context))
        handle = SoonHandle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As in asyncio: call `callback` after `delay` seconds."""
        if delay is None:
            raise TypeError("delay must not be None")
        return _told_by_caller(self.call_at(self.time() + delay, callback, *args, context=context))

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As in asyncio: call `callback` when `time()` has reached `when`."""
        if when is None:
            raise TypeError("when cannot be None")
        timer: asyncio.TimerHandle
        if self._closed or self._debug:
            timer = _told_by_caller(self._explained_timer(when, callback, args, context))
        else:
            timer = LaterHandle(when, callback, args, self, context)
        heappush(self._scheduled, (when, self._numbers(), timer))
        return timer

    def _explained_timer(
        self, when: float, callback: Callback, args: tuple[Any, ...], context: Context | None
    ) -> asyncio.TimerHandle:
        """In debug mode: one that knows where it was made."""
        checks = cast(Any, self)
        checks._check_closed()
        checks._check_thread()
        checks._check_callback(callback, "call_at")
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]
        return _told_by_caller(timer)

    # -- one turn

    def _run_once(self) -> None:
        """Ask the poller, waiting until a timer is due at most; call back what is ready, then for events, then timers.

        That is the order of asyncio, on which its users rely: what was ready when the poller was asked precedes what
        it reports. What these callbacks make ready runs in the next turn.
        """
        try:
            ready, timers, interest = self._ready, self._scheduled, self._interest
            interest.changed.clear()
            if ready or self._stopping:
                events = interest.wait(0)
            else:
                events = interest.wait(self._until_first_timer() if timers else None)
            if timers and timers[0][0] < self.time() + self._clock_resolution:
                self._run_with_timers(events)
                return
            if ready:
                self._run_ready()
            if events:
                self._process_events(events)
        except MemoryError as exc:  # ours: what callbacks raise is dealt with there
            self._lack_memory(exc)

    def _lack_memory(self, exc: MemoryError) -> None:
        """The turn is over, and the next one finds what this one has left: no event is lost by it."""
        self.call_exception_handler({"message": "The event loop lacks memory, and goes on", "exception": exc})
        sleep(SHORTAGE_S)

    turn = _run_once
    """One turn, in whichever thread calls, without being for asyncio the loop that runs there.

    For a server whose threads run the loop by turns: never two at once, and not beside `run_forever`. Code that is
    called from here may use asyncio as if there were no loop.
    """

    def _run_with_timers(self, events: Ready) -> None:
        """The rest of a turn in which timers are due, which was decided when the poller had answered.

        One that is set now, for however short a time, must not precede what was made ready before it.
        """
        due = self._take_due()
        try:
            self._run_ready()
            if events:
                self._process_events(events)
        finally:
            # Before what they have made ready; and in the queue, should one raise KeyboardInterrupt.
            self._ready.extendleft(reversed(due))
        for _ in due:
            handle = self._ready.popleft()
            if not handle._cancelled:
                self._run_handle(handle)

    def _run_ready(self) -> None:
        """The callbacks that are ready now, without those that they make ready."""
        if self._debug:
            self._run_ready_and_report()
            return
        take = self._ready.popleft
        handle: Any = None
        for _ in range(len(self._ready)):
            handle = take()
            if handle._cancelled:
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._handle_failed(handle, exc)
        handle = None  # an exception of its callback may refer to this frame

    def _handle_failed(self, handle: Any, exc: BaseException) -> None:
        """What asyncio's Handle says when its callback has raised."""
        callback = format_helpers._format_callback_source(handle._callback, handle._args)
        message = f"Exception in callback {callback}"
        self.call_exception_handler({"message": message, "exception": exc, "handle": handle})

    def _run_ready_and_report(self) -> None:
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle._cancelled:
                self._run_handle(handle)

    def _run_handle(self, handle: asyncio.Handle) -> None:
        """Call back; in debug mode say who kept the others waiting."""
        if self._debug:
            self._current_handle = handle
            self._timed(handle._run, handle)
            self._current_handle = None
        else:
            handle._run()

    def _timed(self, call: Callable[[], object], culprit: object) -> None:
        before = monotonic()
        try:
            call()
        finally:
            took = monotonic() - before
            if took >= self.slow_callback_duration:
                name = format_handle(culprit) if isinstance(culprit, asyncio.Handle) else repr(culprit)
                log.warning("Executing %s took %.3f seconds", name, took)

    # -- timers

    def _until_first_timer(self) -> float | None:
        """Seconds, 0 if it is overdue, None if all have been cancelled."""
        timers = self._scheduled
        while timers[0][2]._cancelled:
            self._timer_cancelled_count -= 1
            heappop(timers)[2]._scheduled = False  # type: ignore[attr-defined]
            if not timers:
                return None
        left = timers[0][0] - self.time()
        return 0 if left < 0 else left if left < LONGEST_WAIT_S else LONGEST_WAIT_S

    def _take_due(self) -> list[asyncio.Handle]:
        """Those that are due, in their order."""
        timers = self._scheduled
        now = self.time() + self._clock_resolution
        due: list[asyncio.Handle] = []
        while timers and timers[0][0] < now:
            timer = heappop(timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined]
            if timer._cancelled:
                self._timer_cancelled_count -= 1
            else:
                due.append(timer)
        return due

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Told by the handle. Time-outs are mostly cancelled, long before they are due: they must not pile up."""
        if not handle._scheduled:  # type: ignore[attr-defined]
            return
        self._timer_cancelled_count += 1
        if self._timer_cancelled_count > FEW_CANCELLED and self._timer_cancelled_count * 2 > len(self._scheduled):
            # In place: a turn of the loop may be holding the list. `handle` is marked only after this.
            self._scheduled[:] = [
                entry for entry in self._scheduled if not entry[2]._cancelled and entry[2] is not handle
            ]
            handle._scheduled = False  # type: ignore[attr-defined]
            heapify(self._scheduled)
            self._timer_cancelled_count = 0
