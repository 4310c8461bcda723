"""The threads of a process that serves with them."""

import logging
import threading
from collections.abc import Callable
from typing import ParamSpec

log = logging.getLogger("septet")

Args = ParamSpec("Args")


class ThreadGroup:
    """Threads that may be waited for, and that do not keep a process alive whose time is up."""

    def __init__(self) -> None:
        self._working: set[threading.Thread] = set()

    def keep(self, run: Callable[Args, None], *args: Args.args, **kwargs: Args.kwargs) -> None:
        """`start` a thread that calls `run` again when that fails."""

        def again() -> None:
            while True:
                try:
                    run(*args, **kwargs)
                    return
                except BaseException:
                    log.exception("a thread failed, and begins anew")

        self.start(again)

    def start(self, run: Callable[Args, None], *args: Args.args, **kwargs: Args.kwargs) -> None:
        """Call `run` in a thread of its own. Raises RuntimeError when the system gives none, and MemoryError."""

        def work() -> None:
            try:
                run(*args, **kwargs)
            except BaseException:
                log.exception("a thread failed")
            finally:
                self._working.discard(threading.current_thread())

        thread = threading.Thread(target=work, name="septet", daemon=True)
        self._working.add(thread)
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            self._working.discard(thread)
            raise

    def wait(self) -> None:
        """Until all have ended."""
        for thread in list(self._working):
            thread.join()
