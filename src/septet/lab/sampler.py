"""Samples what a server uses while it is measured: every metric of `metrics.SAMPLED`, in a thread that runs while the
load generator loads the server.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from septet.lab.load import ListenQueue, listen_queue
from septet.lab.metric import Over, Sampled, Sight
from septet.lab.metrics import SAMPLED
from septet.lab.pinning import Pinning

LOOK_S = 0.05
LOOKS_PER_SAMPLE = 5
COSTLY_EVERY = 4
"""Costly metrics are read in every fourth sample only. Such a metric is the memory of a process with shared pages
counted once (PSS), for which the kernel walks through its page tables.
"""

Usage = dict[str, Any]
"""The object `usage` of results.json: the sampled metrics by key, and `samples`, the number of samples."""


def nothing() -> None:
    """Do nothing: the default of the argument `look` of `Sampler`."""


def queue_of(host: str, port: int) -> ListenQueue | None:
    """Return the length and the limit of the queue of the listener at this address; None if the kernel does not give
    them.
    """
    return listen_queue(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port)


class Sampler:
    """Samples what the processes of a session use, between `start` and `stop`.

    Args:
        session: the id of the server's session, which is the pid of its first process.
        port, host: the address of the server's listener, whose queue is looked at; with None as port it is not.
        look: called every LOOK_S seconds, LOOKS_PER_SAMPLE times as often as samples are taken.
        pinned: the CPUs of the server and of the load generator.
    """

    def __init__(
        self,
        session: int,
        port: int | None = None,
        look: Callable[[], None] = nothing,
        host: str = "127.0.0.1",
        pinned: Pinning = Pinning(),  # noqa: B008  it is immutable
    ) -> None:
        self.usage: Usage = {}
        self._session = session
        self._port = port
        self._host = host
        self._look = look
        self._pinned = pinned
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to sample, because the measured window begins: take a first sample, and start the thread that takes the
        following ones.
        """
        self.usage = {**{key: row.unknown for key, row in SAMPLED.items()}, "samples": 0}
        sight = self._sight()
        # In the reverse order of `stop`, so that the time of the machine covers the time of the processes.
        for key, row in reversed(SAMPLED.items()):
            if row.over is Over.CHANGE:
                self.usage[key] = -(row.read(sight) or 0)
        self._sample(sight)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> Usage:
        """End the sampling, because the measured window ends: take a last sample, and return what the server used in
        the window.
        """
        sight = self._sight()
        self._sample(sight)
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        for key, row in SAMPLED.items():
            if row.over is Over.CHANGE:
                # A child that has just ended is counted in whole ticks, so the sum may have become less.
                self.usage[key] = max(0, self.usage[key] + (row.read(sight) or 0))
        return self.usage

    def _run(self) -> None:
        looks = 0
        while not self._stopping.wait(LOOK_S):
            self._look()
            looks += 1
            if looks % LOOKS_PER_SAMPLE == 0:
                self._sample(self._sight())

    def _sample(self, sight: Sight) -> None:
        costly = self.usage["samples"] % COSTLY_EVERY == 1
        for key, row in SAMPLED.items():
            if row.over is not Over.CHANGE and (costly or not row.costly):
                self._take(key, row, sight)
        self.usage["samples"] += 1

    def _take(self, key: str, row: Sampled, sight: Sight) -> None:
        value = row.read(sight)
        if value is not None:
            self.usage[key] = max(self.usage[key] or 0, value) if row.over is Over.PEAK else value

    def _sight(self) -> Sight:
        return Sight(self._session, self._queue, self._pinned)

    def _queue(self) -> ListenQueue | None:
        return None if self._port is None else queue_of(self._host, self._port)
