"""Logs how busy a process is, every `--metrics-interval` seconds.

Other servers have a status page, which one of their workers answers for all. Here each process logs its own figures, in
a line that is made for programs to read:

    metrics seconds=10.0 requests=8123 in_flight=3 connections=64 idle=0.412 iterations_per_s=2512.1 ...
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Lock
from time import monotonic

from septet.loop import Metrics
from septet.rules import Admission
from septet.thread import ServerThread

log = logging.getLogger("septet")


class ProcessMetrics:
    """Counts the requests and connections of one process, and logs them. It implements `rules.Admission`, whose
    methods are called at the beginning and end of each request; `admission`, if it is given, decides whether a
    request may run.

    It is made before the fork, and each process calls `begin` after the fork. Any thread may use it.
    """

    def __init__(self, interval_s: float, admission: Admission | None = None) -> None:
        self.interval_s = interval_s
        self._admission = admission
        self._lock = Lock()
        """Guards the counts against other threads."""
        self._requests = self._in_flight = self._connections = 0
        self._since = monotonic()

    def enter(self) -> bool:
        """Count a request that has come. Returns True if the request may run; False if a limit (`--limit-concurrency`)
        is reached.
        """
        admitted = counted = False
        try:
            admitted = self._admission is None or self._admission.enter()
            with self._lock:
                self._requests += 1
                self._in_flight += admitted
                counted = admitted
            return admitted
        except BaseException:  # of another thread or of a signal handler: nothing is counted, as in `InFlight.enter`
            if counted:
                with self._lock:
                    self._in_flight -= 1
            if admitted and self._admission is not None:
                self._admission.leave()
            raise

    def leave(self) -> None:
        """Called when a request for which `enter` returned True is over: count one request in flight less. If it
        raises, the request is still counted.
        """
        left = False
        try:
            with self._lock:
                self._in_flight -= 1
                left = True
            if self._admission is not None:
                self._admission.leave()
        except BaseException:
            if left:
                with self._lock:
                    self._in_flight += 1
            raise

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Context manager: count one connection more while it is entered."""
        with self._lock:
            self._connections += 1
        try:
            yield
        finally:
            with self._lock:
                self._connections -= 1

    def begin(self) -> None:
        """Begin the first interval, at whose end the figures are logged. Called in each process, after the fork."""
        self._since = monotonic()

    def log_interval(self, connections: int | None = None, metrics: Sequence[Metrics] = ()) -> None:
        """Log the figures of the interval that ends now, and begin the next.

        connections: the number of connections, in models that do not use `connection` to count them. metrics: what each
        event loop of the process has done in the interval.
        """
        now = monotonic()
        with self._lock:
            requests, self._requests = self._requests, 0
            seconds, self._since = now - self._since, now
            here = self._connections if connections is None else connections
            line = f"seconds={seconds:.1f} requests={requests} in_flight={self._in_flight} connections={here}"
        log.info("metrics %s%s", line, _of_loops(metrics, seconds) if metrics else "")

    @contextmanager
    def logged_by_thread(self) -> Iterator[None]:
        """Context manager: while it is entered, a thread of its own logs the figures at the end of each interval. It
        is used in a process without an event loop, whose other threads wait for their clients.
        """
        over = Event()
        self.begin()
        thread = ServerThread(self._log_until, "septet-metrics", (over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _log_until(self, over: Event) -> None:
        while not over.wait(self.interval_s):
            self.log_interval()


def _of_loops(metrics: Sequence[Metrics], seconds: float) -> str:
    """Return the figures of all loops of a process together, and how idle each was if there are several."""
    iterations = sum(each.iterations for each in metrics)
    idle = [_idle_share(each) for each in metrics]
    line = (
        f" idle={sum(idle) / len(idle):.3f}"
        f" iterations_per_s={iterations / seconds if seconds else 0.0:.1f}"
        f" events_per_iteration={sum(each.events for each in metrics) / iterations if iterations else 0.0:.2f}"
        f" mean_latency_us={sum(each.busy_s for each in metrics) / iterations * 1e6 if iterations else 0.0:.0f}"
        f" longest_turn_us={max(each.longest_turn_s for each in metrics) * 1e6:.0f}"
    )
    return line if len(idle) == 1 else f"{line} idle_by_loop={','.join(f'{share:.3f}' for share in idle)}"


def _idle_share(metrics: Metrics) -> float:
    """Return the share of the time in which a loop waited for events, from 0 to 1."""
    time_s = metrics.idle_s + metrics.busy_s
    return metrics.idle_s / time_s if time_s else 1.0
