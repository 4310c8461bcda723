"""The threads beside a loop in which a WSGI application runs: `--threads` under poll, epoll and io_uring."""

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from septet.apps.site import Called
from septet.http.states import Want
from septet.models._carry import take_turn
from septet.models._shortage import Shortage
from septet.session import Session

RETRY_S = 0.5


class Pool:
    """At most `threads` of them, started as they are needed. For the loop's thread."""

    def __init__(self, loop: AbstractEventLoop, threads: int, shortage: Shortage) -> None:
        self._loop = loop
        self._shortage = shortage
        self._executor = ThreadPoolExecutor(threads, "septet")
        self._retry: TimerHandle | None = None

    def turn(self, target: Called, session: Session, resume: Callable[[Want], None]) -> None:
        """A turn in a thread; `resume(want)` is called on the loop when it is over."""
        self._submit(self._take_turn, target, session, resume)

    def _take_turn(self, target: Called, session: Session, resume: Callable[[Want], None]) -> None:
        want = take_turn(target, session)
        try:
            self._loop.call_soon_threadsafe(resume, want)
        except RuntimeError:
            pass  # the loop was closed over this turn: its time was up

    def _submit(self, work: Callable[..., None], *arguments: Any) -> None:
        """The work is in the executor's queue even if no thread can be started for it: whatever is submitted next may
        find it one."""
        try:
            self._executor.submit(work, *arguments)
        except RuntimeError as error:
            self._shortage.tell(f"cannot start a thread: {error}")
            if self._retry is None:
                self._retry = self._loop.call_later(RETRY_S, self._submit_again)

    def _submit_again(self) -> None:
        self._retry = None
        self._submit(_nothing)

    def close(self) -> None:
        """Turns that have begun end by themselves; nobody waits for them."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _nothing() -> None: ...
